//! Control requests: what an operator may do at a Unix socket.

use serde_json::{Value, json};
use slog::{Logger, warn};

use super::request::Request;
use super::response::Response;
use super::served::Served;

/// Why the connection of a client ends.
const KICKED: &str = "an operator has ended its connection";

/// Does what a request asks for; `who` has sent it.
pub(super) fn control(
    request: &Request,
    served: Option<&Served>,
    who: &str,
    log: &Logger,
) -> Response {
    let act = match request.path.as_str() {
        "/control/kick" => kick,
        "/control/cancel-pack" => cancel_pack,
        _ => return error(404, "there is /control/kick and /control/cancel-pack"),
    };
    if request.content_type.as_deref() != Some("application/json") {
        return error(415, "Content-Type must be application/json");
    }
    let Ok(body) = serde_json::from_slice(&request.body) else {
        return error(400, "the body is not JSON");
    };
    let Some(served) = served else {
        return error(503, "the server is starting");
    };
    match act(served, &body) {
        Ok((answer, line)) => {
            warn!(log, "{line}, by {who}");
            Response::json(200, &answer)
        }
        Err(refusal) => refusal,
    }
}

/// An answer, and what the log is told.
type Done = (Value, String);

fn kick(served: &Served, body: &Value) -> Result<Done, Response> {
    let id = body.get("client").and_then(Value::as_u64);
    let id = id.ok_or_else(|| error(400, r#"the body must be {"client": ID}"#))?;
    if !served.server.clients().dismiss(id, KICKED) {
        return Err(error(404, &format!("there is no client {id}")));
    }
    Ok((
        json!({"kicked": id}),
        format!("the connection of client {id} was ended"),
    ))
}

fn cancel_pack(served: &Served, body: &Value) -> Result<Done, Response> {
    let name = body.get("storage").and_then(Value::as_str);
    let name = name.ok_or_else(|| error(400, r#"the body must be {"storage": NAME}"#))?;
    let Some(storage) = served.server.storages().get(name) else {
        return Err(error(404, &format!("there is no storage '{name}'")));
    };
    if !storage.storage.cancel_pack() {
        let text = format!("storage '{name}' is not being packed, or that can't be cancelled");
        return Err(error(409, &text));
    }
    Ok((
        json!({"cancelled": name}),
        format!("the pack of storage '{name}' was cancelled"),
    ))
}

/// An error as JSON.
pub(super) fn error(status: u16, text: &str) -> Response {
    Response::json(status, &json!({"error": text}))
}
