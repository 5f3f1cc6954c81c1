//! Who may do what: every call, by every credential, on keys of every relation to it.
//!
//! `authorisation/matrix.txt` is the table. One test plays each of its cells against the service,
//! twice: over a store with proofs in it, and over one that fails whatever it is asked, so that a
//! refusal that had asked it would show. Another holds the table against the rules, written down
//! once more and apart from the code. The controls: an open gate makes every refusal of the table
//! fail, and a URL that was signed anew is let through by the mutations' own check.

mod cells;
mod jwt;
mod mutations;
mod provider;
mod rules;
mod settings;

use std::collections::BTreeSet;
use std::sync::Arc;

use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::config::{AuthMode, Config};
use proof_storage::http::CALLS;
use proof_storage::model::ErrorKind;

pub use self::cells::Credentials;
use self::cells::{Verdict, play};
use self::rules::{CREDENTIALS, Call, RELATIONS, calls, render, verdict};
use crate::http::client::Client;

/// Fewest cells, and fewest refusals among them: the table must not dwindle unseen.
const FEWEST: (usize, usize) = (10_000, 7_000);

/// One cell: call, relation and credential, and what the table says.
struct Cell {
    call: Call,
    relation: usize,
    credential: usize,
    expected: Verdict,
}

/// The checked-in table.
fn matrix() -> Vec<Cell> {
    read(include_str!("authorisation/matrix.txt"), calls())
}

/// A table, read strictly: its rows and columns are those that the rules know.
fn read(text: &str, calls: Vec<Call>) -> Vec<Cell> {
    let mut lines = rows(text);
    let mut cells = Vec::new();
    for call in calls {
        for relation in call.relations() {
            let line = lines.next().expect("a row for each call and relation");
            let verdicts = words(line, [call.name, RELATIONS[relation].name]);
            for (credential, expected) in verdicts.into_iter().enumerate() {
                cells.push(Cell { call, relation, credential, expected });
            }
        }
    }
    assert_eq!(lines.next(), None, "a row of no call");
    cells
}

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// The verdicts of a row that begins so.
fn words(line: &str, begins: [&str; 2]) -> Vec<Verdict> {
    let mut words = line.split_whitespace();
    assert_eq!([words.next(), words.next()], begins.map(Some), "{line}");
    let verdicts: Vec<_> = words.map(|word| Verdict::parse(word).expect("a verdict")).collect();
    assert_eq!(verdicts.len(), CREDENTIALS.len(), "{line}");
    verdicts
}

/// A store that fails whatever it is asked, and counts it.
fn failing() -> Arc<Faulty<Memory>> {
    let store = Faulty::new(Memory::new(), 1);
    let fault = Fault::Refuse(ErrorKind::Unavailable);
    let chance = |operation| Chance { operation, fault, probability: 1.0 };
    store.set_chances(Operation::ALL.map(chance));
    Arc::new(store)
}

/// Plays every cell, for a test that looks at something else than the answer's status.
pub async fn play_all(
    client: &Client,
    credentials: &Credentials,
    mut look: impl FnMut(&str, &str, &crate::http::client::Answer),
) {
    for Cell { call, relation, credential, .. } in matrix() {
        let answer = play(client, credentials, call, relation, credential).await;
        let name =
            format!("{} {} {}", call.name, RELATIONS[relation].name, CREDENTIALS[credential]);
        look(&name, call.method, &answer);
    }
}

fn configured(credentials: &Credentials) -> Config {
    Config { auth: credentials.config(), ..Config::default() }
}

/// The cells whose answer is not what the table says.
async fn mismatches(client: &Client, credentials: &Credentials, cells: &[Cell]) -> Vec<String> {
    let mut found = Vec::new();
    for Cell { call, relation, credential, expected } in cells {
        if call.stores {
            credentials.fill(client).await;
        }
        let answer = play(client, credentials, *call, *relation, *credential).await;
        let got = Verdict::of(&answer);
        if got != *expected {
            let (relation, credential) = (RELATIONS[*relation].name, CREDENTIALS[*credential]);
            let status = answer.status;
            found
                .push(format!("{} {relation} {credential}: {status}, not {expected:?}", call.name));
        }
    }
    found
}

#[tokio::test]
async fn every_cell_is_as_the_table_says() {
    let cells = matrix();
    let refusals = cells.iter().filter(|cell| cell.expected != Verdict::Allowed).count();
    assert!(cells.len() >= FEWEST.0 && refusals >= FEWEST.1, "{} {refusals}", cells.len());
    let credentials = Credentials::make();
    let client = Client::over(Arc::new(Memory::new()), configured(&credentials)).await;
    credentials.fill(&client).await;
    let found = mismatches(&client, &credentials, &cells).await;
    assert!(found.is_empty(), "{} of {}:\n{}", found.len(), cells.len(), found.join("\n"));
    crate::tell(&format!("counted: {} cells, {refusals} of them refusals, 0 wrong", cells.len()));
}

/// The same over a store that fails: what is refused has not asked it, and what is allowed has
/// passed the gate all the same.
#[tokio::test]
async fn a_refusal_asks_no_backend() {
    let credentials = Credentials::make();
    let store = failing();
    let client = Client::over(store.clone(), configured(&credentials)).await;
    let (mut refused, mut asked) = (0, 0);
    for Cell { call, relation, credential, expected } in matrix() {
        let before = store.injected().len();
        let answer = play(&client, &credentials, call, relation, credential).await;
        let calls = store.injected().len() - before;
        let name =
            format!("{} {} {}", call.name, RELATIONS[relation].name, CREDENTIALS[credential]);
        assert_eq!(Verdict::of(&answer), expected, "{name}: {answer:?}");
        if expected == Verdict::Allowed {
            asked += usize::from(calls > 0);
        } else {
            assert_eq!(calls, 0, "{name}");
            refused += 1;
        }
    }
    // The control: the store does notice who asks it.
    assert!(refused >= FEWEST.1 && asked >= 500, "{refused} {asked}");
}

/// Negative control: a gate that lets everybody through fails in every cell that refuses.
#[tokio::test]
async fn an_open_gate_is_noticed() {
    let cells = matrix();
    let credentials = Credentials::make();
    let mut config = configured(&credentials);
    config.auth.mode = AuthMode::Anyone;
    let client = Client::over(failing(), config).await;
    let mut noticed = 0;
    for Cell { call, relation, credential, expected } in &cells {
        let answer = play(&client, &credentials, *call, *relation, *credential).await;
        assert_eq!(Verdict::of(&answer), Verdict::Allowed, "{} {answer:?}", call.name);
        noticed += usize::from(*expected != Verdict::Allowed);
    }
    assert!(noticed >= FEWEST.1);
    crate::tell(&format!("control: an open gate is wrong in {noticed} cells"));
}

/// The table is what the rules say. To write it anew: run this test, and take what it prints.
#[test]
fn the_table_is_what_the_rules_say() {
    let rules = render();
    if let Some(file) = std::env::var_os("MATRIX_TO") {
        std::fs::write(file, &rules).unwrap();
    }
    assert!(include_str!("authorisation/matrix.txt") == rules, "MATRIX_TO=file writes it down");
    for Cell { call, relation, credential, expected } in matrix() {
        assert_eq!(verdict(call, relation, credential), expected);
    }
}

/// A route without a row in the table fails here; so does a row for no route.
#[test]
fn every_route_has_rows() {
    let routes: BTreeSet<_> = CALLS.iter().map(|row| (row.path, row.method.to_string())).collect();
    let played: BTreeSet<_> = calls().iter().map(|call| (call.route, call.method.into())).collect();
    assert_eq!(routes, played);
}

/// The description says the same of scopes as the gate does.
#[test]
fn the_description_names_the_scopes() {
    let spec: serde_norway::Value =
        serde_norway::from_str(include_str!("../../openapi.yaml")).unwrap();
    let mut seen = 0;
    for row in CALLS.iter().filter(|row| !row.path.ends_with('/') || row.path == "/") {
        let path = row.path.replace("{*key}", "{key}");
        let operation = &spec["paths"][path.as_str()][row.method.as_str().to_lowercase().as_str()];
        let security = operation["security"].as_sequence().unwrap();
        let scopes = security.first().map(|first| {
            let scopes = first["token"].as_sequence().unwrap().iter();
            scopes.map(|scope| scope.as_str().unwrap()).collect::<Vec<_>>().join("+")
        });
        let demand = scopes.as_deref().unwrap_or(match row.demand.as_str() {
            "signature" => "signature",
            _ => "anybody",
        });
        assert_eq!(demand, row.demand, "{path}");
        let refusals = ["401", "403"].map(|status| !operation["responses"][status].is_null());
        let expected = match demand {
            "anybody" => [false, false],
            "signature" => [false, true],
            _ => [true, true],
        };
        assert_eq!(refusals, expected, "{path}");
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}

/// Routes are made by the gate's table and nowhere else.
#[test]
fn only_the_gate_makes_routes() {
    fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                sources(&entry.path(), found);
            } else {
                found.push(entry.path());
            }
        }
    }
    let mut files = vec![crate::project_file("src/http.rs")];
    sources(&crate::project_file("src/http"), &mut files);
    let makes = |file: &&std::path::PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        ["axum::routing", ".route(", ".route_service(", ".nest("].iter().any(|w| text.contains(w))
    };
    let makers: Vec<_> = files.iter().filter(makes).map(|f| f.file_name().unwrap()).collect();
    assert_eq!(makers, ["table.rs"]);
}
