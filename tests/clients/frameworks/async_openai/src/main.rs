// An answer, a form, a tool and a stream by async-openai; prints them as JSON. Arguments: the server's URL.
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::{CreateChatCompletionRequest, CreateChatCompletionResponse};
use async_openai::Client;
use futures::StreamExt;
use serde_json::{from_str, from_value, json, Value};

/// A request in the crate's own type: what it does not know is lost here, as in a program that fills its fields.
fn request(messages: &[Value], others: Value) -> CreateChatCompletionRequest {
    let mut body = json!({"model": "hello", "messages": messages});
    body.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    from_value(body).unwrap()
}

fn asking(question: &str) -> Value {
    json!({"role": "user", "content": question})
}

fn text(reply: &CreateChatCompletionResponse) -> String {
    reply.choices[0].message.content.clone().unwrap_or_default()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), OpenAIError> {
    let url = std::env::args().nth(1).unwrap();
    let client = Client::with_config(OpenAIConfig::new().with_api_base(format!("{url}/v1")).with_api_key("unused"));
    let chat = client.chat();

    let lock = [asking("What is a lock?")];
    let answer = chat.create(request(&lock, json!({}))).await?;

    let properties = json!({"city": {"enum": ["Oslo", "Rome"]}, "capital": {"type": "boolean"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["city", "capital"]});
    let form = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": true}});
    let formed = chat.create(request(&[asking("Tell me of Rome.")], json!({"response_format": form}))).await?;

    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let weather =
        json!({"name": "get_weather", "description": "Get the current weather in a city", "parameters": parameters});
    let tools = json!({"tools": [{"type": "function", "function": weather}]});
    let mut messages = vec![asking("What is the weather in Rome?")];
    let calling = chat.create(request(&messages, tools.clone())).await?;
    let called = serde_json::to_value(&calling.choices[0].message).unwrap();
    let call = &called["tool_calls"][0];
    let arguments: Value = from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    let result = json!({"city": arguments["city"], "temperature": 21, "condition": "sunny"}).to_string();
    messages.push(json!({"role": "assistant", "tool_calls": called["tool_calls"]}));
    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": result}));
    let said = chat.create(request(&messages, tools)).await?;

    let mut pieces = vec![];
    let mut stream = chat.create_stream(request(&lock, json!({"stream": true}))).await?;
    while let Some(piece) = stream.next().await {
        pieces.extend(piece?.choices.into_iter().filter_map(|choice| choice.delta.content));
    }

    let told = json!({
        "answer": text(&answer),
        "form": from_str::<Value>(&text(&formed)).unwrap(),
        "cities": [arguments["city"]],
        "said": text(&said),
        "pieces": pieces,
    });
    println!("{}", json!({ "chat": told }));
    Ok(())
}
