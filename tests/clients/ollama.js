// What the official ollama client for JavaScript gets from our server; prints it as JSON. Arguments: the server's URL.
import { Ollama } from 'ollama'

const client = new Ollama({ host: process.argv[2] })
const question = [{ role: 'user', content: 'What is a lock?' }]
const told = {}

told.chat = await client.chat({ model: 'hello', messages: question, think: false })

told.pieces = []
for await (const piece of await client.chat({ model: 'hello', messages: question, stream: true })) told.pieces.push(piece)

const tools = [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'Get the current weather in a city',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  },
]
const weather = [{ role: 'user', content: 'What is the weather in Oslo?' }]
told.call = await client.chat({ model: 'hello', messages: weather, tools, think: false })
weather.push(told.call.message)
weather.push({ role: 'tool', tool_name: 'get_weather', content: '{"temperature": 21, "sky": "sunny"}' })
told.result = await client.chat({ model: 'hello', messages: weather, tools, think: false })

told.generate = await client.generate({ model: 'hello', prompt: 'What is a lock?', think: false })
const format = {
  type: 'object',
  properties: { count: { type: 'integer', minimum: 0, maximum: 9 } },
  required: ['count'],
  additionalProperties: false,
}
const thought = await client.chat({ model: 'hello', messages: question, format })
const counted = { content: '' }
const completing = { model: 'hello', prompt: 'Count.', format, think: false, stream: true }
for await (const piece of await client.generate(completing)) counted.content += piece.response
told.formed = [thought.message, counted]
told.embedded = await client.embed({ model: 'hello', input: ['one', 'two'], dimensions: 8 })

told.list = await client.list()
told.show = await client.show({ model: 'hello' })
told.ps = await client.ps()
told.version = await client.version()
told.copied = await client.copy({ source: 'hello', destination: 'hello:by-javascript' })
told.deleted = await client.delete({ model: 'hello:by-javascript' })

told.errors = []
for (const wrong of [{ model: 'nobody' }, { format: { not: {} } }]) {
  try {
    await client.chat({ model: 'hello', messages: question, ...wrong })
  } catch (error) {
    told.errors.push({ name: error.name, status: error.status_code, message: error.message })
  }
}

const long = { type: 'array', minItems: 500 }
const stream = await client.generate({ model: 'hello', prompt: 'Count.', format: long, think: false, stream: true })
told.aborted = { pieces: 0 }
try {
  for await (const _piece of stream) {
    told.aborted.pieces += 1
    stream.abort()
  }
} catch (error) {
  told.aborted.name = error.name
}

console.log(JSON.stringify(told))
