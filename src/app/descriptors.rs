//! How many connections the descriptors of this process leave room for.
//!
//! A service that runs out of descriptors cannot open its own files any more: what it is asked then
//! fails for no fault of the caller. So connections get what the stores do not need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{BackendConfig, BackendKind, Config};
use crate::serve::ConnectionLimits;

/// Standard streams, the event loop, listeners, files that are read again.
const PROCESS: u64 = 32;
/// Temporary files of large bodies: so many at least, and more up to so many where there is room for
/// them. For one more there is 503.
const SPOOLED: [u64; 2] = [16, 1024];
/// What they get of all descriptors, between the two.
const SPOOLED_SHARE: u64 = 16;
/// Tables that an embedded store keeps open, its journals, and files that it is making.
const EMBEDDED: u64 = 128;

/// Most connections of those who watch.
const ADMIN_CONNECTIONS: usize = 64;

/// How the connections of all are treated, and those of who watches.
pub fn limits(config: &Config) -> (ConnectionLimits, ConnectionLimits) {
    let share = share(config);
    if let Some(warning) = share.warning {
        tracing::warn!("{warning}");
    }
    let limits = ConnectionLimits {
        max_connections: share.connections,
        max_connections_per_address: config.limits.max_connections_per_address,
        header_timeout: config.limits.header_timeout,
        idle_timeout: config.limits.idle_timeout,
        write_timeout: config.limits.body_idle_timeout,
        min_upload_rate: config.limits.min_upload_rate,
        min_download_rate: config.limits.min_download_rate,
    };
    (limits, ConnectionLimits { max_connections: of_admin(share.connections), ..limits })
}

/// Those who watch are few, and are to be served whatever the others do.
fn of_admin(connections: usize) -> usize {
    (connections / 8).clamp(1, ADMIN_CONNECTIONS)
}

/// Most temporary files of bodies at once.
pub fn spool_files() -> usize {
    spooled(getrlimit(Resource::Nofile).maximum) as usize
}

/// By how many descriptors there can be.
fn spooled(limit: Option<u64>) -> u64 {
    let [least, most] = SPOOLED;
    limit.map_or(most, |limit| (limit / SPOOLED_SHARE).clamp(least, most))
}

/// What the connections get, and what there is to be said about it.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    /// Most connections at once.
    connections: usize,
    /// Where that is less than was asked for.
    warning: Option<String>,
}

/// Raises the soft limit of descriptors as far as is needed and allowed, and shares them out.
fn share(config: &Config) -> Share {
    let asked = config.limits.max_connections as u64;
    let now = getrlimit(Resource::Nofile);
    let rest = rest(config, spooled(now.maximum));
    let wanted = asked.saturating_add(rest);
    let mut limit = now.current;
    if limit.is_some_and(|limit| limit < wanted) {
        let raised = now.maximum.map_or(wanted, |most| most.min(wanted));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..now }).is_ok() {
            limit = Some(raised);
        }
    }
    shared(asked, rest, limit)
}

/// What everything but the connections of all may need.
fn rest(config: &Config, spooled: u64) -> u64 {
    let of = |backend: &BackendConfig| match &backend.kind {
        BackendKind::Local(_) => EMBEDDED,
        BackendKind::Remote(remote) => remote.max_in_flight as u64,
    };
    let admin = match config.server.admin_listen {
        Some(_) => of_admin(config.limits.max_connections) as u64,
        None => 0,
    };
    // What is sealed goes from one file to another.
    let files = if config.storage.keyring.is_some() { 2 * spooled } else { spooled };
    PROCESS + files + admin + config.backends.iter().map(of).sum::<u64>()
}

fn shared(asked: u64, rest: u64, limit: Option<u64>) -> Share {
    let Some(limit) = limit.filter(|limit| asked.saturating_add(rest) > *limit) else {
        return Share { connections: asked as usize, warning: None };
    };
    // Where there is little of everything, nobody gets nothing.
    let connections = limit.saturating_sub(rest).max(limit / 4).clamp(1, asked);
    let warning = format!(
        "this process may open {limit} files (RLIMIT_NOFILE), and {rest} of them are kept for stores \
         and temporary files: {connections} connections at once instead of {asked}; raise the limit to \
         {}, or lower STORAGE_MAX_CONNECTIONS",
        asked.saturating_add(rest)
    );
    Share { connections: connections as usize, warning: Some(warning) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_a_share_within_bounds() {
        for (limit, files) in [
            (Some(64), 16),
            (Some(1024), 64),
            (Some(4096), 256),
            (Some(1 << 20), 1024),
            (None, 1024),
        ] {
            assert_eq!(spooled(limit), files, "{limit:?}");
        }
    }

    #[test]
    fn what_is_no_connection_of_all_is_all_counted() {
        let mut config = Config::default();
        config.limits.max_connections = 1000;
        let before = rest(&config, 64);
        assert_eq!(rest(&config, 100), before + 36);
        config.server.admin_listen = Some(([127, 0, 0, 1], 1).into());
        assert_eq!(rest(&config, 64), before + 64);
        config.limits.max_connections = 80;
        assert_eq!(rest(&config, 64), before + 10);
    }

    #[test]
    fn connections_get_what_is_left() {
        assert_eq!(shared(10_000, 176, None), Share { connections: 10_000, warning: None });
        assert_eq!(shared(100, 176, Some(1024)), Share { connections: 100, warning: None });
        let few = shared(10_000, 176, Some(1024));
        assert_eq!(few.connections, 848);
        assert!(few.warning.unwrap().contains("raise the limit to 10176"));
        assert_eq!(shared(10_000, 176, Some(256)).connections, 80);
        assert_eq!(shared(10_000, 176, Some(128)).connections, 32);
        assert_eq!(shared(10, 176, Some(128)).connections, 10);
        assert_eq!(shared(10, 176, Some(1)).connections, 1);
    }
}
