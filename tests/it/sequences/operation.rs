//! The calls of a sequence, as proptest makes them up.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Few names, so that calls meet; awkward ones, so that order and roll-up matter.
const NAMES: [&str; 12] =
    ["B", "a", "a-b", "a/", "a/b", "a/b/c", "a/c", "ab", "b", "b/x", "ä/x", "\u{10ffff}"];
const PREFIXES: [&str; 8] = ["", "", "a", "a/", "a/b", "b", "ä", "zz"];
const DELIMITERS: [&str; 4] = ["/", "/", "-", "/b"];
/// Around the borders where a store changes its ways; small ones are made up as well.
const SIZES: [usize; 6] = [0, 65_536, 262_145, 1_048_576, 1_048_577, 1_600_000];

/// Which version of a key a call names, by the writes of that key so far.
#[derive(Clone, Copy, Debug)]
pub(super) enum Version {
    /// The one that is there.
    Latest,
    /// One before.
    Earlier(usize),
    /// A token that no store gave out.
    MadeUp,
}

/// When a write may take place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Create,
    Replace(Version),
    Overwrite,
}

/// The bytes and attributes of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) size: usize,
    pub(super) seed: u8,
    /// Whether every attribute says something.
    pub(super) rich: bool,
    /// Whether the body comes in a file.
    pub(super) spooled: bool,
}

/// One call, or a restart of the store.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put {
        key: &'static str,
        content: Content,
        mode: Mode,
    },
    /// The range is in shares of the size, from 0 to a little past the end.
    Get {
        key: &'static str,
        range: Option<(f64, f64)>,
        version: Option<Version>,
    },
    Delete {
        key: &'static str,
        version: Option<Version>,
    },
    DeleteMany {
        keys: Vec<&'static str>,
    },
    Copy {
        from: &'static str,
        to: &'static str,
        mode: Mode,
    },
    Rename {
        from: &'static str,
        to: &'static str,
        mode: Mode,
    },
    /// Every page, from the start or from a name on.
    List {
        prefix: &'static str,
        delimiter: Option<&'static str>,
        limit: usize,
        after: Option<&'static str>,
    },
    Usage,
    Restart,
}

pub(super) fn sequence() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..60)
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || select(&NAMES[..]);
    let put = (key(), content(), mode());
    let share = || 0.0..1.02_f64;
    let get = (key(), option::of((share(), share())), option::weighted(0.3, version()));
    let list =
        (select(&PREFIXES[..]), option::of(select(&DELIMITERS[..])), limit(), option::of(key()));
    prop_oneof![
        12 => put.prop_map(|(key, content, mode)| Operation::Put { key, content, mode }),
        5 => get.prop_map(|(key, range, version)| Operation::Get { key, range, version }),
        4 => (key(), option::weighted(0.4, version()))
            .prop_map(|(key, version)| Operation::Delete { key, version }),
        1 => vec(key(), 0..6).prop_map(|keys| Operation::DeleteMany { keys }),
        4 => (key(), key(), mode()).prop_map(|(from, to, mode)| Operation::Copy { from, to, mode }),
        4 => (key(), key(), mode())
            .prop_map(|(from, to, mode)| Operation::Rename { from, to, mode }),
        5 => list.prop_map(|(prefix, delimiter, limit, after)| {
            // With a delimiter the contract gives a meaning only to entries of a page before.
            let after = after.filter(|_| delimiter.is_none());
            Operation::List { prefix, delimiter, limit, after }
        }),
        2 => Just(Operation::Usage),
        1 => Just(Operation::Restart),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let size = prop_oneof![9 => 0..5000_usize, 1 => select(&SIZES[..])];
    (size, any::<u8>(), any::<bool>(), any::<bool>())
        .prop_map(|(size, seed, rich, spooled)| Content { size, seed, rich, spooled })
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        4 => Just(Version::Latest),
        3 => (0..4_usize).prop_map(Version::Earlier),
        1 => Just(Version::MadeUp),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        2 => Just(Mode::Create),
        2 => version().prop_map(Mode::Replace),
        4 => Just(Mode::Overwrite),
    ]
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..5_usize, 1 => Just(1000)]
}
