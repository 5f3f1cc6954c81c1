//! The rules, as a person would write them down: what each call takes, and who has it.

use super::cells::Verdict;

/// Columns of the table. Tokens without `everywhere` hold for the prefix `mine`; those that begin with
/// `jwt-` are of an identity provider.
pub const CREDENTIALS: [&str; 26] = [
    "none",
    "basic",
    "unknown",
    "expired",
    "read",
    "write",
    "delete",
    "list",
    "sign",
    "admin",
    "no-read",
    "no-write",
    "no-delete",
    "no-list",
    "no-sign",
    "no-admin",
    "mine",
    "two",
    "everywhere",
    "jwt-mine",
    "jwt-no-delete",
    "jwt-nowhere",
    "jwt-expired",
    "jwt-audience",
    "jwt-forged",
    "jwt-unknown",
];

/// Whether it is of an identity provider.
pub fn is_jwt(credential: usize) -> bool {
    CREDENTIALS[credential].starts_with("jwt-")
}

/// The column of a name.
pub fn column(name: &str) -> usize {
    CREDENTIALS.iter().position(|column| *column == name).unwrap()
}

/// Words for what a token allows, by its column; `None` where it is no token that is taken.
pub fn scopes(credential: usize) -> Option<Vec<&'static str>> {
    const ALL: [&str; 6] = ["read", "write", "delete", "list", "sign", "admin"];
    match CREDENTIALS[credential] {
        "none" | "basic" | "unknown" | "expired" => None,
        "jwt-expired" | "jwt-audience" | "jwt-forged" | "jwt-unknown" => None,
        "mine" | "two" | "everywhere" | "jwt-mine" | "jwt-nowhere" => Some(ALL.to_vec()),
        name => match name.trim_start_matches("jwt-").strip_prefix("no-") {
            Some(left_out) => Some(ALL.into_iter().filter(|scope| *scope != left_out).collect()),
            None => Some(vec![name]),
        },
    }
}

/// Prefixes of a token.
pub fn prefixes(credential: usize) -> &'static [&'static str] {
    match CREDENTIALS[credential] {
        "everywhere" => &["*"],
        "two" => &["mine/", "third/b"],
        "jwt-nowhere" => &[],
        _ => &["mine"],
    }
}

/// Whether a token reaches to a key.
fn reaches(credential: usize, key: &str) -> bool {
    match CREDENTIALS[credential] {
        "everywhere" => true,
        "two" => key.starts_with("mine/") || key == "third/b" || key.starts_with("third/b/"),
        "jwt-nowhere" => false,
        _ => key == "mine" || key.starts_with("mine/"),
    }
}

/// Whether it reaches to all keys that begin so.
fn reaches_all(credential: usize, beginning: &str) -> bool {
    match CREDENTIALS[credential] {
        "everywhere" => true,
        "two" => beginning.starts_with("mine/") || beginning.starts_with("third/b/"),
        "jwt-nowhere" => false,
        _ => beginning.starts_with("mine/"),
    }
}

/// A key, and what it is to the tokens.
pub struct Relation {
    pub name: &'static str,
    pub key: &'static str,
    /// Whether something is stored there.
    pub exists: bool,
}

const fn relation(name: &'static str, key: &'static str, exists: bool) -> Relation {
    Relation { name, key, exists }
}

pub const RELATIONS: [Relation; 14] = [
    relation("inside", "mine/a", true),
    relation("inside-missing", "mine/b", false),
    relation("deep-inside", "mine/a b/ü/1", true),
    relation("itself", "mine", true),
    relation("longer-name", "mine2/a", true),
    relation("shorter-name", "min", true),
    relation("other-case", "Mine/a", true),
    relation("below-another", "other/mine/a", true),
    relation("outside-missing", "other/b", false),
    relation("second-prefix", "third/b", true),
    relation("beside-second", "third/bc", true),
    relation("public", "public/a", true),
    relation("public-missing", "public/b", false),
    relation("nearly-public", "publicity/a", true),
];

/// What a call is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: anybody may.
    Nothing,
    /// These scopes for the key.
    Key(&'static [&'static str]),
    /// These for the key, and those for `mine/a`.
    KeyAndMine(&'static [&'static str], &'static [&'static str]),
    /// `read`, unless the key is public.
    Read,
    /// `list` for all keys that begin with the key and what follows it here.
    List(&'static str),
    /// This scope for every key.
    Every(&'static str),
    /// This scope, whatever the keys.
    Scope(&'static str),
    /// Any token.
    Token,
    /// A URL that the column's bearer signed, who still has these scopes for the key.
    Signed(&'static [&'static str]),
}

/// One row for each relation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    pub method: &'static str,
    /// As the router has it.
    pub route: &'static str,
    pub takes: Takes,
    /// Whether it changes what is stored.
    pub stores: bool,
}

impl Call {
    /// Those for which it makes a difference.
    pub fn relations(self) -> std::ops::Range<usize> {
        match self.takes {
            Takes::Nothing | Takes::Every(_) | Takes::Scope(_) | Takes::Token => 0..1,
            _ => 0..RELATIONS.len(),
        }
    }
}

/// Every call, in every form in which the keys matter.
pub fn calls() -> Vec<Call> {
    use Takes::{Every, Key, KeyAndMine, List, Nothing, Read, Scope, Signed, Token};
    const KEY: &str = "/v1/proofs/{*key}";
    const SIGNED: &str = "/v1/signed/{token}/{*key}";
    let looks = |name, method, route, takes| Call { name, method, route, takes, stores: false };
    let stores = |name, method, route, takes| Call { name, method, route, takes, stores: true };
    vec![
        looks("list-below", "GET", "/v1/proofs", List("/")),
        looks("list-begins", "GET", "/v1/proofs", List("")),
        looks("list-all", "GET", "/v1/proofs", Every("list")),
        stores("store-new", "POST", "/v1/proofs", Every("write")),
        looks("get", "GET", KEY, Read),
        looks("get-encoded", "GET", KEY, Read),
        looks("get-range", "GET", KEY, Read),
        looks("head", "GET", KEY, Read),
        stores("put", "PUT", KEY, Key(&["write"])),
        stores("replace", "PUT", KEY, Key(&["write", "delete"])),
        stores("delete", "DELETE", KEY, Key(&["delete"])),
        looks("get-empty", "GET", "/v1/proofs/", Token),
        looks("put-empty", "PUT", "/v1/proofs/", Scope("write")),
        looks("delete-empty", "DELETE", "/v1/proofs/", Scope("delete")),
        looks("metadata", "GET", "/v1/metadata/{*key}", Key(&["read"])),
        looks("metadata-empty", "GET", "/v1/metadata/", Scope("read")),
        stores("retain", "PUT", "/v1/retention/{*key}", Key(&["write"])),
        stores("retain-clear", "PUT", "/v1/retention/{*key}", Key(&["write", "admin"])),
        stores("retain-empty", "PUT", "/v1/retention/", Scope("write")),
        stores("copy-from", "POST", "/v1/copy", KeyAndMine(&["read"], &["write"])),
        stores("copy-to", "POST", "/v1/copy", KeyAndMine(&["write"], &["read"])),
        stores("copy-over", "POST", "/v1/copy", KeyAndMine(&["write", "delete"], &["read"])),
        stores("move-from", "POST", "/v1/move", KeyAndMine(&["read", "delete"], &["write"])),
        stores("move-to", "POST", "/v1/move", KeyAndMine(&["write"], &["read", "delete"])),
        stores(
            "move-over",
            "POST",
            "/v1/move",
            KeyAndMine(&["write", "delete"], &["read", "delete"]),
        ),
        stores("batch-one", "POST", "/v1/batch-delete", Key(&["delete"])),
        stores("batch-first", "POST", "/v1/batch-delete", KeyAndMine(&["delete"], &["delete"])),
        stores("batch-last", "POST", "/v1/batch-delete", KeyAndMine(&["delete"], &["delete"])),
        looks("sign-get", "POST", "/v1/signed-urls", Key(&["sign", "read"])),
        looks("sign-head", "POST", "/v1/signed-urls", Key(&["sign", "read"])),
        looks("sign-put", "POST", "/v1/signed-urls", Key(&["sign", "write"])),
        looks("signed-get", "GET", SIGNED, Signed(&["sign", "read"])),
        looks("signed-head", "GET", SIGNED, Signed(&["sign", "read"])),
        stores("signed-put", "PUT", SIGNED, Signed(&["sign", "write"])),
        stores("signed-replace", "PUT", SIGNED, Signed(&["sign", "write", "delete"])),
        looks("stats", "GET", "/v1/stats", Scope("admin")),
        looks("backends", "GET", "/v1/backends", Scope("admin")),
        looks("metrics", "GET", "/metrics", Scope("admin")),
        looks("health", "GET", "/health", Nothing),
        looks("ready", "GET", "/health/ready", Nothing),
        looks("openapi", "GET", "/openapi.yaml", Nothing),
        looks("docs", "GET", "/docs", Nothing),
        looks("root", "GET", "/", Nothing),
    ]
}

/// What the rules say of a cell.
pub fn verdict(call: Call, relation: usize, credential: usize) -> Verdict {
    let key = RELATIONS[relation].key;
    let scopes = scopes(credential);
    let has = |scope: &&str| scopes.as_ref().is_some_and(|scopes| scopes.contains(scope));
    let for_key = |needed: &[&str], key: &str| needed.iter().all(has) && reaches(credential, key);
    let allowed = match call.takes {
        Takes::Nothing => true,
        Takes::Read if key.starts_with("public/") && CREDENTIALS[credential] == "none" => true,
        Takes::Read if key.starts_with("public/") => scopes.is_some(),
        Takes::Read => for_key(&["read"], key),
        Takes::Key(needed) | Takes::Signed(needed) => for_key(needed, key),
        Takes::KeyAndMine(needed, of_mine) => for_key(needed, key) && for_key(of_mine, "mine/a"),
        Takes::List(end) => has(&"list") && reaches_all(credential, &format!("{key}{end}")),
        Takes::Every(scope) => has(&scope) && reaches_all(credential, ""),
        Takes::Scope(scope) => has(&scope),
        Takes::Token => scopes.is_some(),
    };
    match (allowed, call.takes) {
        (true, _) => Verdict::Allowed,
        // A URL that there is no right behind. Who shows a JWT has to ask for one first.
        (false, Takes::Signed(_)) if !is_jwt(credential) => Verdict::Denied,
        (false, _) if scopes.is_none() => Verdict::Unknown,
        (false, _) => Verdict::Denied,
    }
}

/// Whether it replaces what is stored: that takes more where stores do not.
pub fn replaces(call: Call) -> bool {
    matches!(call.name, "replace" | "copy-over" | "move-over" | "signed-replace")
}

/// The same calls where every store may replace: who may store there needs no right to delete for it.
/// A move takes the right to delete its source all the same.
pub fn calls_overwriting() -> Vec<Call> {
    let takes = |call: Call| match call.name {
        "replace" => Takes::Key(&["write"]),
        "copy-over" => Takes::KeyAndMine(&["write"], &["read"]),
        "move-over" => Takes::KeyAndMine(&["write"], &["read", "delete"]),
        "signed-replace" => Takes::Signed(&["sign", "write"]),
        _ => call.takes,
    };
    calls().into_iter().map(|call| Call { takes: takes(call), ..call }).collect()
}

/// Who listens, where those who watch the service have an address of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Main,
    Admin,
}

pub const LISTENERS: [Listener; 2] = [Listener::Main, Listener::Admin];

impl Listener {
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Admin => "admin",
        }
    }
}

/// Whether it tells what only those are to know who watch the service.
pub fn is_figures(call: Call) -> bool {
    matches!(call.name, "stats" | "backends" | "metrics")
}

/// What the rules say of a call for `mine/a`, where there are two listeners. The admin one asks nobody,
/// and has no proofs, no description and no page.
pub fn verdict_at(listener: Listener, call: Call, credential: usize) -> Verdict {
    let health = matches!(call.name, "health" | "ready");
    match listener {
        Listener::Main if is_figures(call) => Verdict::Absent,
        Listener::Main => verdict(call, 0, credential),
        Listener::Admin if is_figures(call) || health => Verdict::Allowed,
        Listener::Admin => Verdict::Absent,
    }
}

const COLUMNS: &str = "\
# Credentials: `none` no header; `basic` another scheme; `unknown` and `expired` tokens; one scope each; all
# scopes but one; `mine` all scopes. They hold for the prefix `mine`; `two` for `mine/` and `third/b`,
# `everywhere` for every key. Public is `public/`. Of signed-* the column is whose right the URL stands on.
# JWTs: `jwt-mine` and `jwt-no-delete` as `mine` and `no-delete`; `jwt-nowhere` has all scopes and no claim of
# prefixes; what is expired, for another audience, forged under the name of a known key or of an unknown key is
# not taken. Of signed-* their bearers ask for the URL first: where that is refused, that is the verdict.
# Keys: see `RELATIONS` in rules.rs. `authorisation.rs` plays every cell.
#
";

/// The table, as it is checked in.
pub fn render() -> String {
    let about =
        "# Who may do what: one row for each call and key, one column for each credential.\n";
    of_keys(about, calls())
}

/// That of the calls that replace, where every store may.
pub fn render_overwriting() -> String {
    let about =
        "# Who may replace, with STORAGE_WRITE_MODE=overwrite. The other calls: see matrix.txt.\n";
    of_keys(about, calls_overwriting().into_iter().filter(|call| replaces(*call)).collect())
}

/// That of both listeners, for one key.
pub fn render_admin() -> String {
    let about = "# Who may do what, with STORAGE_ADMIN_LISTEN: the key is `mine/a`.\n\
                 #   404  no such resource\n";
    let rows = LISTENERS.iter().flat_map(|listener| {
        calls().into_iter().map(move |call| {
            let verdicts = std::array::from_fn(|column| verdict_at(*listener, call, column));
            ([listener.name(), call.name], verdicts)
        })
    });
    table(about, ["listener", "call"], rows)
}

fn of_keys(about: &str, calls: Vec<Call>) -> String {
    let rows = calls.into_iter().flat_map(|call| {
        call.relations().map(move |relation| {
            let verdicts = std::array::from_fn(|column| verdict(call, relation, column));
            ([call.name, RELATIONS[relation].name], verdicts)
        })
    });
    table(about, ["call", "key"], rows)
}

fn table(
    about: &str,
    [first, second]: [&str; 2],
    rows: impl Iterator<Item = ([&'static str; 2], [Verdict; CREDENTIALS.len()])>,
) -> String {
    const WORDS: &str =
        "#   .  let through      401  not authenticated      403  authenticated, and may not\n";
    let width = |name: &str| name.len().max(8) + 2;
    let head = CREDENTIALS.map(|name| format!("{name:>0$}", width(name))).concat();
    let mut text = format!("{about}{WORDS}{COLUMNS}# {first:<14}{second:<17}{head}\n");
    for ([first, second], verdicts) in rows {
        let cells = verdicts.iter().zip(CREDENTIALS);
        let cells = cells.map(|(word, name)| format!("{:>1$}", word.as_str(), width(name)));
        text.push_str(&format!("{first:<16}{second:<17}{}\n", cells.collect::<String>()));
    }
    text
}
