// An answer, a form, a tool and a stream by LangChain's ChatOpenAI and ChatOllama; prints them as JSON.
// Arguments: the server's URL.
import { tool } from '@langchain/core/tools'
import { ChatOllama } from '@langchain/ollama'
import { ChatOpenAI } from '@langchain/openai'
import { z } from 'zod'

const url = process.argv[2]
const openai = { model: 'hello', apiKey: 'unused', maxRetries: 0, configuration: { baseURL: `${url}/v1` } }
const models = {
  chat: new ChatOpenAI(openai),
  responses: new ChatOpenAI({ ...openai, useResponsesApi: true }),
  ollama: new ChatOllama({ model: 'hello', baseUrl: url, maxRetries: 0 }),
}
const City = z.object({ city: z.enum(['Oslo', 'Rome']), capital: z.boolean() })

const told = {}
for (const [way, model] of Object.entries(models)) {
  const cities = []
  const weather = tool(
    ({ city }) => {
      cities.push(city)
      return JSON.stringify({ city, temperature: 21, condition: 'sunny' })
    },
    { name: 'get_weather', description: 'Get the current weather in a city', schema: z.object({ city: z.string() }) },
  )
  const answer = await model.invoke('What is a lock?')
  const form = await model.withStructuredOutput(City).invoke('Tell me of Rome.')

  const bound = model.bindTools([weather])
  const messages = [{ role: 'user', content: 'What is the weather in Rome?' }]
  const calling = await bound.invoke(messages)
  messages.push(calling)
  for (const call of calling.tool_calls) messages.push(await weather.invoke(call))
  const said = await bound.invoke(messages)

  const pieces = []
  for await (const piece of await model.stream('What is a lock?')) pieces.push(piece.text)
  told[way] = { answer: answer.text, form, cities, said: said.text, pieces }
}
console.log(JSON.stringify(told))
