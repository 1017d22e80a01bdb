// Two turns, each with a tool, that Vercel's AI SDK takes through each of its providers; prints them as JSON.
// Arguments: the server's URL.
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, isStepCount, streamText, tool } from 'ai'
import { createOllama } from 'ai-sdk-ollama'
import { z } from 'zod'

const url = process.argv[2]
const apiKey = 'unused'
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey })
const models = {
  openai: openai('hello'), // OpenAI's Responses
  openai_chat: openai.chat('hello'),
  openai_compatible: createOpenAICompatible({ name: 'mlxbuild', baseURL: `${url}/v1`, includeUsage: true })('hello'),
  anthropic: createAnthropic({ baseURL: `${url}/v1`, apiKey })('hello'),
  ollama: createOllama({ baseURL: url })('hello'),
}

const told = {}
for (const [provider, model] of Object.entries(models)) {
  const cities = []
  const tools = {
    get_weather: tool({
      description: 'Get the current weather in a city',
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        cities.push(city)
        return { city, temperature: 21, condition: 'sunny' }
      },
    }),
  }
  try {
    const asked = { model, tools, stopWhen: isStepCount(3), maxRetries: 0 }
    const messages = [{ role: 'user', content: 'What is the weather in Rome?' }]
    const first = await generateText({ ...asked, messages })
    messages.push(...first.response.messages, { role: 'user', content: 'What is the weather in London?' })
    const second = streamText({ ...asked, messages, onError: () => {} })
    let streamed = ''
    for await (const piece of second.textStream) streamed += piece
    const turns = [first, { text: await second.text, usage: await second.usage, finishReason: await second.finishReason }]
    told[provider] = {
      cities,
      streamed,
      turns: turns.map(({ text, usage, finishReason }) => ({ text, finishReason, tokens: usage.outputTokens })),
    }
  } catch (error) {
    told[provider] = { cities, error: error.message, body: error.responseBody, url: error.url }
  }
}
console.log(JSON.stringify(told))
