//! The audit log of a service, as configured.

use super::StartError;
use crate::access::Authority;
use crate::audit::{
    Action, Audit, ChainKey, Entry, Folder, OnFailure, Options, Outcome, Place, Stream, Sync,
    Unwritten,
};
use crate::config::{AuditFailure, AuditMode, AuditSync, AuthMode, Config};
use crate::serve::Tls;
use crate::telemetry::{Label as _, Metrics};

const FOLDER: &str = "audit";

/// Opens it.
pub(super) fn open(config: &Config, metrics: &Metrics) -> Result<Audit, StartError> {
    open_beside(Stream::stdout(), config, metrics)
}

/// `log`: where lines go that are not for files.
fn open_beside(log: Stream, config: &Config, metrics: &Metrics) -> Result<Audit, StartError> {
    let audit = &config.audit;
    let place = match audit.mode {
        AuditMode::Off => {
            if config.auth.mode == AuthMode::Required {
                tracing::info!("who changes what is not written down: STORAGE_AUDIT is off");
            }
            return Ok(Audit::off());
        }
        AuditMode::Log => Place::Log(log),
        AuditMode::File => Place::Folder(Folder {
            path: audit.dir.clone().unwrap_or_else(|| config.storage.data_dir.join(FOLDER)),
            segment_bytes: audit.segment_bytes,
            daily: audit.daily,
            keep: audit.keep,
            sync: match audit.sync {
                AuditSync::BeforeAnswer => Sync::BeforeAnswer,
                AuditSync::EverySecond => Sync::EverySecond,
            },
        }),
    };
    let options = Options {
        place,
        key: audit.key.as_ref().map(|key| ChainKey::new(key.expose())),
        on_failure: match audit.on_failure {
            AuditFailure::Refuse => OnFailure::Refuse,
            AuditFailure::Serve => OnFailure::Serve,
        },
        head_interval: audit.head_interval,
    };
    Audit::open(options, metrics.clone()).map_err(StartError::Audit)
}

/// The line of a start: from here on there are changes.
pub(super) fn start(audit: &Audit) {
    drop(audit.submit(vec![of_this_process(Entry::of_service(Action::Start))]));
}

fn of_this_process(start: Entry) -> Entry {
    start.with("version", env!("CARGO_PKG_VERSION")).with("pid", std::process::id())
}

/// The line of a stop, and the end of the log.
pub(super) async fn stop(audit: &Audit) {
    drop(audit.submit(vec![Entry::of_service(Action::Stop)]).written().await);
    audit.close().await;
}

/// The log of a command that changes something, and the line of its start. Without that nothing is to
/// be changed, but for where changes go on without lines.
pub(super) async fn of_command(config: &Config, name: &str) -> Result<Audit, StartError> {
    let audit = open_beside(Stream::stderr(), config, &Metrics::new())?;
    let start = of_this_process(Entry::of_command(Action::Start)).with("command", name);
    match audit.submit(vec![start]).written().await {
        Err(Unwritten) if audit.must_be_written() => {
            audit.close().await;
            Err(StartError::Unwritten)
        }
        _ => Ok(audit),
    }
}

/// What a command did, the line of its stop, and the end of the log.
pub(super) async fn end_of_command(audit: &Audit, done: Entry) {
    let lines = vec![done, Entry::of_command(Action::Stop)];
    if audit.submit(lines).written().await.is_err() {
        tracing::error!("what was done has no line in the audit log, which cannot be written");
    }
    audit.close().await;
}

/// What a line calls the file of those whose certificates are taken from clients.
const CLIENT_CA: &str = "client_ca";

/// Has each reading of what says who may come in, and that brought something new or failed, leave a line.
pub(super) fn watch(audit: &Audit, authority: &Authority, tls: Option<&Tls>) {
    if !audit.is_on() {
        return;
    }
    let of_rights = audit.clone();
    authority.on_reading(move |source, taken| was_read(&of_rights, source.as_str(), taken));
    if let Some(tls) = tls {
        let of_clients = audit.clone();
        tls.on_authorities(move |taken| was_read(&of_clients, CLIENT_CA, taken));
    }
}

fn was_read(audit: &Audit, source: &'static str, taken: bool) {
    let mut entry = Entry::of_service(Action::ReadCredentials).with("source", source);
    if !taken {
        entry.result = Outcome::Failed;
    }
    drop(audit.submit(vec![entry]));
}
