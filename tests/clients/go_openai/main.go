// Two turns with a tool each, the second one's answer streamed, and a question to a model that does not exist, by
// go-openai; prints them as JSON. Arguments: the server's URL.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"

	openai "github.com/sashabaranov/go-openai"
)

type turn struct {
	Call   openai.FunctionCall `json:"call"`
	Text   string              `json:"text"`
	Reason openai.FinishReason `json:"reason"`
	Tokens int                 `json:"tokens"`
	Pieces int                 `json:"pieces"`
}

var weather = openai.Tool{
	Type: openai.ToolTypeFunction,
	Function: &openai.FunctionDefinition{
		Name:        "get_weather",
		Description: "Get the current weather in a city",
		Parameters: json.RawMessage(
			`{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}`),
	},
}

func main() {
	settings := openai.DefaultConfig("unused")
	settings.BaseURL = os.Args[1] + "/v1"
	client := openai.NewClientWithConfig(settings)
	asked := openai.ChatCompletionRequest{Model: "hello", Tools: []openai.Tool{weather}}
	turns := []turn{ask(client, &asked, "Rome", whole), ask(client, &asked, "London", streamed)}

	asked.Model = "nobody"
	_, err := client.CreateChatCompletion(context.Background(), asked)
	refused := &openai.APIError{}
	if !errors.As(err, &refused) {
		panic(err)
	}
	told := map[string]any{"turns": turns, "status": refused.HTTPStatusCode, "code": refused.Code}
	must(json.NewEncoder(os.Stdout).Encode(told))
}

// ask has the model call the tool for a city, and tell what the tool said.
func ask(
	client *openai.Client,
	asked *openai.ChatCompletionRequest,
	city string,
	answer func(*openai.Client, openai.ChatCompletionRequest) turn,
) turn {
	question := openai.ChatCompletionMessage{Role: "user", Content: "What is the weather in " + city + "?"}
	asked.Messages = append(asked.Messages, question)
	reply, err := client.CreateChatCompletion(context.Background(), *asked)
	must(err)
	calling := reply.Choices[0].Message
	call := calling.ToolCalls[0]
	result := openai.ChatCompletionMessage{
		Role:       "tool",
		Content:    `{"city": "` + city + `", "temperature": 21, "condition": "sunny"}`,
		ToolCallID: call.ID,
	}
	asked.Messages = append(asked.Messages, calling, result)
	told := answer(client, *asked)
	told.Call = call.Function
	said := openai.ChatCompletionMessage{Role: "assistant", Content: told.Text}
	asked.Messages = append(asked.Messages, said)
	return told
}

func whole(client *openai.Client, asked openai.ChatCompletionRequest) turn {
	reply, err := client.CreateChatCompletion(context.Background(), asked)
	must(err)
	choice := reply.Choices[0]
	return turn{Text: choice.Message.Content, Reason: choice.FinishReason, Tokens: reply.Usage.CompletionTokens, Pieces: 1}
}

func streamed(client *openai.Client, asked openai.ChatCompletionRequest) turn {
	asked.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
	stream, err := client.CreateChatCompletionStream(context.Background(), asked)
	must(err)
	defer stream.Close()
	told := turn{}
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return told
		}
		must(err)
		for _, choice := range piece.Choices {
			told.Text += choice.Delta.Content
			told.Pieces++
			if choice.FinishReason != "" {
				told.Reason = choice.FinishReason
			}
		}
		if piece.Usage != nil {
			told.Tokens = piece.Usage.CompletionTokens
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
