//! `[pool]`: how several backends work together, and what must hold among them.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::backend::{BackendConfig, BackendKind, Common};
use super::parse;
use super::reader::Reader;
use super::settings as name;
use super::variables;
use crate::model::{PoolMode, Role};

/// How several backends work together. Means nothing where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// `STORAGE_POOL_MODE`: what the pool makes of its members. Default fallback.
    pub mode: PoolMode,
    /// `STORAGE_POOL_MIN_COPIES`: copies before a mirror acknowledges a write. Default one less
    /// than the members that take writes, but at least one.
    pub min_copies: usize,
    /// `STORAGE_POOL_HEDGE_PERCENT`: reads of a mirror that may ask a second member when the first
    /// is slow. Default 5.
    pub hedge_percent: u32,
    /// `STORAGE_INVENTORY_INTERVAL` (ms): between two countings of all members together, for
    /// stats. Default an hour.
    pub inventory_interval: Duration,
}

/// Reads that may be asked twice, in percent.
const HEDGE_PERCENT: u32 = 5;

const MODES: &[(&str, PoolMode)] =
    &[("fallback", PoolMode::Fallback), ("mirror", PoolMode::Mirror)];

/// A backend, and where it is said in the file.
struct Member {
    config: BackendConfig,
    place: String,
    /// Whether it is to be given sealed proofs only, of those that ask for nothing.
    seals: bool,
}

/// What keeps the proofs.
pub(super) struct Kept {
    pub(super) backends: Vec<BackendConfig>,
    pub(super) pool: PoolConfig,
    /// Whether what asks for no encryption is sealed before any of them sees it.
    pub(super) seals: bool,
}

/// Reads all backends and how they work together.
pub(super) fn read(reader: &mut Reader<'_>, common: &Common) -> Kept {
    let mode = reader.option(&name::POOL_MODE, parse::word(MODES));
    let min_copies = reader.option(&name::POOL_MIN_COPIES, parse::count(1..=u64::MAX));
    let hedge = reader.option(&name::POOL_HEDGE, parse::count(0..=100));
    let (members, meant, seals) = match reader.tables() {
        [] => {
            let named = variables::read(reader, common);
            let place = || name::PROVIDER.variable.to_owned();
            let seals = named.seals;
            let member = |config| Member { config, place: place(), seals };
            (named.backends.into_iter().map(member).collect(), named.meant, named.seals)
        }
        tables => {
            // An envelope is of the proof, whatever backend has it.
            let seals = reader.reads(&name::ENCRYPTION, "envelope");
            let of_one: Vec<_> = (name::OF_ONE.iter().copied())
                .filter(|setting| !seals || setting.variable != name::ENCRYPTION.variable)
                .collect();
            reader.supersede(&of_one, "does not go with [[backend]]: say it there instead");
            if seals {
                reader.option(&name::ENCRYPTION, parse::encryption);
            }
            let member = |table| {
                let mut table = reader.table(table);
                let (config, own) = BackendConfig::read(&mut table, common)?;
                Some(Member { config, place: table.place().to_owned(), seals: seals || own })
            };
            (tables.iter().filter_map(member).collect::<Vec<_>>(), tables.len(), seals)
        }
    };
    let given = reader.says(&name::KEYRING) || reader.says(&name::KEYRING_FILE);
    if !given {
        let text = "is `envelope`, which needs keys: set STORAGE_KEYRING_FILE or STORAGE_KEYRING";
        if seals {
            reader.mistake(&name::ENCRYPTION, text);
        } else if let Some(member) = members.iter().find(|member| member.takes_sealed()) {
            reader.problem(&member.place, &format!("encryption {text}"));
        }
    }
    check_each_apart(reader, &members);
    if meant < 2 {
        check_single(reader, &members);
    }
    // With one that could not be read, what is said of all would be said of too few.
    if members.len() == meant {
        check_roles(reader, &members);
        check_seals(reader, &members);
    }
    let takers = if members.len() == meant { count_takers(&members) } else { meant };
    let pool = PoolConfig {
        mode: mode.unwrap_or(PoolMode::Fallback),
        min_copies: min_copies.unwrap_or(takers.saturating_sub(1).max(1)),
        hedge_percent: hedge.unwrap_or(HEDGE_PERCENT),
        inventory_interval: common.manners.inventory_interval,
    };
    check_pool(reader, pool, (meant, takers));
    let seals = seals || members.iter().any(Member::takes_sealed);
    Kept { backends: members.into_iter().map(|member| member.config).collect(), pool, seals }
}

impl Member {
    fn takes_sealed(&self) -> bool {
        self.seals && self.config.role.takes_writes()
    }
}

/// A proof has the same bytes in every backend: one that is sealed for one is sealed for all.
fn check_seals(reader: &mut Reader<'_>, members: &[Member]) {
    let Some(sealed) = members.iter().find(|member| member.takes_sealed()) else { return };
    for Member { config, place, seals } in members {
        if config.role.takes_writes() && !seals {
            let text = format!(
                "takes writes that are not sealed, and backend `{}` takes sealed ones only: a proof \
                 has the same bytes in every backend, so let `encryption` be `envelope` in each",
                sealed.config.name
            );
            reader.problem(place, &text);
        }
    }
}

fn count_takers(members: &[Member]) -> usize {
    members.iter().filter(|member| member.config.role.takes_writes()).count()
}

fn check_pool(reader: &mut Reader<'_>, pool: PoolConfig, (meant, takers): (usize, usize)) {
    if meant < 2 {
        let text = "needs several backends, and there is one: add STORAGE_FALLBACK_PROVIDER or a \
                    [[backend]], or remove it";
        for setting in [&name::POOL_MODE, &name::POOL_MIN_COPIES, &name::POOL_HEDGE] {
            if reader.says(setting) {
                reader.mistake(setting, text);
            }
        }
        return;
    }
    if pool.mode == PoolMode::Fallback {
        let text = "is of the mode `mirror` only, and the mode is `fallback`: remove it";
        for setting in [&name::POOL_MIN_COPIES, &name::POOL_HEDGE] {
            if reader.says(setting) {
                reader.mistake(setting, text);
            }
        }
    } else if reader.says(&name::POOL_MIN_COPIES) && pool.min_copies > takers {
        let text = format!("{} are more than the {takers} that take writes", pool.min_copies);
        reader.mistake(&name::POOL_MIN_COPIES, &text);
    }
}

/// What only a pool can do must not be said of a backend that is alone: it would not be done.
fn check_single(reader: &mut Reader<'_>, members: &[Member]) {
    for Member { config, place, .. } in members {
        if config.role != Role::ReadWrite {
            let text = format!("is the only one, so it cannot be `{}`", config.role.as_str());
            reader.problem(place, &text);
        }
        if config.quota_bytes.is_some() {
            reader.problem(place, "is the only one: quota_bytes needs another to pass writes to");
        }
    }
}

fn check_roles(reader: &mut Reader<'_>, members: &[Member]) {
    let Some(Member { place, .. }) = members.first() else { return };
    if members.len() > 1 && count_takers(members) == 0 {
        let text = "and all others take no writes: give one the role `read-write`";
        reader.problem(place, text);
    }
    if members.len() > 1 && !members.iter().any(|member| member.config.role.serves_reads()) {
        let text = "and all others serve no reads: give one the role `read-write`";
        reader.problem(place, text);
    }
    let first = members.iter().position(|member| member.config.role.takes_writes());
    for (index, Member { config, place, .. }) in members.iter().enumerate() {
        if config.cdn_url.is_some() && Some(index) != first {
            reader.warn(&format!(
                "{place}: cdn_url has no effect: URLs in results are of the first backend"
            ));
        }
    }
}

/// Two names for one store would make a copy of each proof that is none: moving it home would
/// remove the only one.
fn check_each_apart(reader: &mut Reader<'_>, members: &[Member]) {
    for (index, Member { config, place, .. }) in members.iter().enumerate() {
        for other in &members[..index] {
            if other.config.name == config.name {
                reader.problem(place, "has the name of an earlier backend: give it its own");
            }
            if let Some(what) = shared(&config.kind, &other.config.kind) {
                let text = format!(
                    "has the {what} of backend `{}`: a second copy there would be none",
                    other.config.name
                );
                reader.problem(place, &text);
            }
        }
    }
}

fn shared(one: &BackendKind, other: &BackendKind) -> Option<&'static str> {
    match (one, other) {
        (BackendKind::Local(one), BackendKind::Local(other)) => {
            let (one, other) = (settled(&one.data_dir), settled(&other.data_dir));
            let inside = one.starts_with(&other) || other.starts_with(&one);
            inside.then_some("folder, or one inside of it,")
        }
        (BackendKind::Remote(one), BackendKind::Remote(other)) => {
            let place = |url: &super::BaseUrl| url.as_str().to_ascii_lowercase();
            let same_place = one.endpoint.as_ref().map(place) == other.endpoint.as_ref().map(place);
            (same_place && one.bucket == other.bucket).then_some("endpoint and bucket")
        }
        _ => None,
    }
}

/// A folder's one spelling, as far as that can be known of one which is yet to be made.
fn settled(folder: &Path) -> PathBuf {
    if let Ok(real) = folder.canonicalize() {
        return real;
    }
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut settled = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => drop(settled.pop()),
            Component::CurDir => {}
            other => settled.push(other),
        }
    }
    settled
}
