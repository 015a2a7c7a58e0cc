//! `zeo-client-console`: a `ClientStorage` for programs in other languages, for tests. Each line of
//! its input is a call, in JSON, and is answered by a line: `{"result": ...}` or `{"error": ...}`,
//! with the `id` of the call if it has one. While no storage is open, the calls are `open` and
//! `connect`. A call with `"background": true` gets a thread of its own, and is answered when it is
//! done. What listeners are told is a line with `event`.

#![allow(missing_docs)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};
use zeo_client::{ClientStorage, Tpc};

use args::{Args, Failure};
use events::Events;

mod args;
mod calls;
mod events;
mod length;
mod open;
mod shown;

fn main() -> ExitCode {
    let mut lines = std::io::stdin().lines().map_while(Result::ok);
    while let Some(line) = lines.next() {
        let call = match serde_json::from_str(&line) {
            Ok(call) => call,
            Err(why) => return usage(&format!("{why}: {line}")),
        };
        let args = Args(&call);
        match args.text("call") {
            Ok("connect") => answer(&call, open::connect(&args)),
            Ok("open") => match open::open(&args) {
                Ok(storage) => {
                    answer(&call, Ok(Value::Null));
                    if let Err(why) = session(&storage, &mut lines) {
                        return usage(&why);
                    }
                }
                Err(why) => answer(&call, Err(why)),
            },
            Ok(_) => answer(&call, Err(Failure::Usage("nothing is open".to_owned()))),
            Err(why) => answer(&call, Err(why)),
        }
    }
    ExitCode::SUCCESS
}

fn usage(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "zeo-client-console: {why}");
    ExitCode::FAILURE
}

/// Takes calls until the storage is closed.
fn session(
    storage: &ClientStorage,
    lines: &mut impl Iterator<Item = String>,
) -> Result<(), String> {
    let subscription = storage.subscribe(Arc::new(Events));
    let done = thread::scope(|scope| {
        let mut transaction = None;
        for line in lines {
            let call: Value =
                serde_json::from_str(&line).map_err(|why| format!("{why}: {line}"))?;
            let name = Args(&call).text("call").unwrap_or_default().to_owned();
            if name == "close" {
                drop(transaction.take());
                answer(
                    &call,
                    { storage.close() }
                        .map(|()| Value::Null)
                        .map_err(Into::into),
                );
                return Ok(());
            }
            let background = Args(&call).flag("background");
            if name == "finish" && background {
                let tpc: Option<Tpc<'_>> = transaction.take();
                scope.spawn(move || answer(&call, calls::finish(tpc)));
            } else if background {
                scope.spawn(move || answer(&call, calls::read(storage, &name, &Args(&call))));
            } else if let Some(done) = calls::write(storage, &mut transaction, &name, &Args(&call))
            {
                answer(&call, done);
            } else {
                answer(&call, calls::read(storage, &name, &Args(&call)));
            }
        }
        // Who waits in the background is not to wait for ever.
        let _ = storage.close();
        Ok(())
    });
    drop(subscription);
    done
}

/// Prints the answer to a call.
fn answer(call: &Value, done: Result<Value, Failure>) {
    let mut line = match done {
        Ok(result) => json!({ "result": result }),
        Err(why) => why.shown(),
    };
    if let (Some(id), Some(fields)) = (call.get("id"), line.as_object_mut()) {
        fields.insert("id".to_owned(), id.clone());
    }
    print(&line);
}

/// Prints a line.
fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Who closes the output has heard enough.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
