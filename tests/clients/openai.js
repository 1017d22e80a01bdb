// What the official openai client for JavaScript gets from our server; prints it as JSON. Arguments: the server's URL.
import OpenAI from 'openai'

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: 'unused', maxRetries: 0 })
const question = [{ role: 'user', content: 'What is a lock?' }]
const chat = { model: 'hello', messages: question, reasoning_effort: 'none' }
const told = {}

told.chat = await client.chat.completions.create(chat)

told.chunks = []
const usage = { stream: true, stream_options: { include_usage: true } }
for await (const chunk of await client.chat.completions.create({ ...chat, ...usage })) told.chunks.push(chunk)

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const called = []
const runner = client.chat.completions.runTools({
  model: 'hello',
  reasoning_effort: 'none',
  messages: [{ role: 'user', content: 'What is the weather in Rome?' }],
  tools: [
    {
      type: 'function',
      function: {
        name: 'get_weather',
        description: 'Get the current weather in a city',
        parameters,
        parse: JSON.parse,
        function: ({ city }) => {
          called.push(city)
          return { city, temperature: 21, condition: 'sunny' }
        },
      },
    },
  ],
  stream: true,
})
told.answer = await runner.finalContent()
told.called = called

const properties = { city: { enum: ['Oslo', 'Rome'] } }
const schema = { type: 'object', properties, required: ['city'], additionalProperties: false }
const form = { type: 'json_schema', json_schema: { name: 'place', schema, strict: true } }
told.formed = await client.chat.completions.create({ ...chat, response_format: form, max_tokens: 200 })

told.embedded = await client.embeddings.create({ model: 'hello', input: ['one', 'two'], dimensions: 8 })

told.response = await client.responses.create({ model: 'hello', input: 'What is a lock?', reasoning: { effort: 'none' } })
told.events = []
const streamed = await client.responses.create({ model: 'hello', input: 'What is a lock?', stream: true })
for await (const event of streamed) told.events.push(event.type)

told.completion = await client.completions.create({ model: 'hello', prompt: 'A lock is', max_tokens: 5 })
told.models = []
for await (const model of client.models.list()) told.models.push(model.id)
told.model = await client.models.retrieve('hello')

try {
  await client.chat.completions.create({ ...chat, model: 'nobody' })
} catch (error) {
  told.error = { kind: error.constructor.name, status: error.status, code: error.code }
}

const long = { type: 'json_schema', json_schema: { name: 'long', schema: { type: 'array', minItems: 500 } } }
for await (const chunk of await client.chat.completions.create({ ...chat, response_format: long, stream: true })) {
  told.left = chunk.id
  break // which aborts the request
}

console.log(JSON.stringify(told))
