//! The control of the looking: every canary has to be found where it is told.
//!
//! What the services are given is told by a program in their place that prints its environment and its files of
//! secrets; what callers send, by a store that answers with what it was asked. What neither tells was never given
//! nor sent, so that its absence elsewhere would show nothing.

use std::path::Path;

use super::super::Context;
use super::START_LIMIT;
use super::canary::Hunt;
use super::given::Secrets;
use crate::Result;
use crate::client::Client;
use crate::server::Launch;

/// Names of canaries that are not found where they are told.
///
/// # Errors
/// A program of the control does not run.
pub(super) fn missed(
    context: &Context,
    secrets: &Secrets,
    services: &[Launch],
    hunt: &Hunt,
) -> Result<Vec<String>> {
    let mut told = hunt.again();
    // As they are, and what a PEM encodes.
    let tells = |path: &Path| {
        let path = path.display();
        format!("cat '{path}'; grep -v '^-' '{path}' | base64 -d 2>&1")
    };
    let script = secrets.files().map(tells).join("; ");
    let words = ["sh".to_owned(), "-c".to_owned(), format!("env; {script}; true")];
    for service in services {
        let (succeeded, printed) = service.clone().through(words.clone()).run(&[])?;
        if !succeeded {
            return Err("the program that prints its secrets failed".into());
        }
        told.look("environment and files", &printed, true);
    }
    let echo = context.stand_in("echo", &context.work().join("echo"), "secrets-echo")?;
    let (server, _) = echo.start_ready(START_LIMIT)?;
    let mut client = Client::new(server.address());
    for sent in hunt.sent() {
        let answer = client.call("POST", "/v1/echo", &[], sent)?;
        told.look("answers that echo", &answer.body, true);
    }
    Ok(told.missed())
}
