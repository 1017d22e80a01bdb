// What the official ollama client for JavaScript gets when it makes, moves and stops models; prints it as JSON.
// Arguments: the server's URL, and `host:port` of an empty registry.
import { Ollama } from 'ollama'

const [url, registry] = process.argv.slice(2)
const client = new Ollama({ host: url })
const question = [{ role: 'user', content: 'What is a lock?' }]
const told = {}

async function pieces(stream) {
  const all = []
  for await (const piece of await stream) all.push(piece)
  return all
}

async function failure(promise) {
  try {
    await promise
  } catch (error) {
    return { name: error.name, status: error.status_code, message: error.message }
  }
}

async function names() {
  return (await client.list()).models.map((model) => model.name)
}

async function running() {
  return (await client.ps()).models.map((model) => model.name)
}

const made = { model: 'by-javascript:v1', from: 'hello:none-1.0', system: 'Be brief.', quantize: 'int8' }
told.created = await pieces(client.create({ ...made, parameters: { num_predict: 7, stop: ['\n\n'] }, stream: true }))
told.again = await client.create({ model: 'by-javascript:v2', from: 'by-javascript:v1', system: 'Be very brief.' })
told.shown = await client.show({ model: 'by-javascript:v2' })
told.brief = await client.chat({ model: 'by-javascript:v1', messages: question, think: false })
told.uncreatable = await failure(client.create({ model: 'none', from: 'hello', quantize: 'q99' }))

told.running = await running()
told.unloaded = await client.generate({ model: 'by-javascript:v1', prompt: '', keep_alive: 0 })
told.stopped = await running()

const name = `${registry}/acme/by-javascript:v1`
told.copied = await client.copy({ source: 'by-javascript:v1', destination: name })
told.pushed = await pieces(client.push({ model: name, stream: true }))
told.deleted = await client.delete({ model: name })
told.gone = await names()
told.pulled = await pieces(client.pull({ model: name, stream: true }))
told.there = await names()
told.answer = await client.chat({ model: name, messages: question, think: false })
told.whole = [await client.pull({ model: name }), await client.push({ model: name })]
const nothing = `${registry}/acme/nothing:1`
told.unpullable = await failure(client.pull({ model: nothing }))
told.unstreamable = await failure(pieces(client.pull({ model: nothing, stream: true })))
told.uncopyable = await failure(client.copy({ source: 'nobody', destination: 'somebody' }))
told.undeletable = await failure(client.delete({ model: 'nobody' }))

const aborted = await client.pull({ model: name, stream: true })
aborted.abort()
told.aborted = [await failure(pieces(aborted))]
const asked = await client.chat({ model: 'hello', messages: question, stream: true })
const listening = failure(pieces(asked))
client.abort() // all of the client's streams
told.aborted.push(await listening)

for (const model of ['by-javascript:v1', 'by-javascript:v2', name]) await client.delete({ model })
told.left = await names()

console.log(JSON.stringify(told))
