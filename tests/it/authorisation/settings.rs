//! Where a setting changes who may do what: tables of their own, in the manner of `matrix.txt`.
//!
//! `overwrite.txt` has the calls that replace, where every store may (`STORAGE_WRITE_MODE=overwrite`); what
//! is not in it stays as in `matrix.txt`, and is played too. `admin.txt` has both listeners where those who
//! watch the service have one of their own (`STORAGE_ADMIN_LISTEN`).

use std::sync::Arc;

use proof_storage::backend::memory::Memory;
use proof_storage::model::WriteMode;

use super::cells::{Credentials, Verdict, play};
use super::rules::{self, CREDENTIALS, Call, LISTENERS, Listener, calls, calls_overwriting};
use super::{Cell, configured, failing, matrix, mismatches, read, words};
use crate::http::client::{Answer, Client};

fn overwrite_table() -> Vec<Cell> {
    let replaces = calls_overwriting().into_iter().filter(|call| rules::replaces(*call)).collect();
    read(include_str!("overwrite.txt"), replaces)
}

/// One cell of the other table: listener, call, column, and what it says.
type AdminCell = (Listener, Call, usize, Verdict);

fn admin_table() -> Vec<AdminCell> {
    let mut lines = super::rows(include_str!("admin.txt"));
    let mut cells = Vec::new();
    for listener in LISTENERS {
        for call in calls() {
            let line = lines.next().expect("a row for each listener and call");
            let verdicts = words(line, [listener.name(), call.name]).into_iter().enumerate();
            cells.extend(verdicts.map(|(column, expected)| (listener, call, column, expected)));
        }
    }
    assert_eq!(lines.next(), None, "a row of no call");
    cells
}

/// The tables are what the rules say. `OVERWRITE_TO=file` and `ADMIN_TO=file` write them down anew.
#[test]
fn these_tables_are_what_the_rules_say() {
    let tables = [
        ("OVERWRITE_TO", rules::render_overwriting(), include_str!("overwrite.txt")),
        ("ADMIN_TO", rules::render_admin(), include_str!("admin.txt")),
    ];
    for (variable, rules, _) in &tables {
        if let Some(file) = std::env::var_os(variable) {
            std::fs::write(file, rules).unwrap();
        }
    }
    for (variable, rules, checked_in) in tables {
        assert!(rules == checked_in, "{variable}=file writes it down");
    }
    for Cell { call, relation, credential, expected } in overwrite_table() {
        assert_eq!(rules::verdict(call, relation, credential), expected);
    }
    for (listener, call, credential, expected) in admin_table() {
        assert_eq!(rules::verdict_at(listener, call, credential), expected);
    }
}

/// Those that replace take no right to delete; all others take what they take elsewhere.
#[tokio::test]
async fn where_every_store_may_replace_each_cell_is_as_the_table_says() {
    let credentials = Credentials::make();
    let mut config = configured(&credentials);
    config.storage.write_mode = WriteMode::Overwrite;
    let client = Client::over(Arc::new(Memory::new()), config).await;
    let mut cells = matrix();
    cells.retain(|cell| !rules::replaces(cell.call));
    cells.extend(overwrite_table());
    credentials.fill(&client).await;
    let found = mismatches(&client, &credentials, &cells).await;
    assert!(found.is_empty(), "{} of {}:\n{}", found.len(), cells.len(), found.join("\n"));
    crate::tell(&format!("counted: {} cells where stores replace, 0 wrong", cells.len()));
}

/// Negative control: the other way to store is wrong in exactly the cells in which the tables differ.
#[tokio::test]
async fn a_table_of_the_other_way_to_store_is_noticed() {
    let credentials = Credentials::make();
    let client = Client::over(failing(), configured(&credentials)).await;
    let table = overwrite_table();
    let mut differing = 0;
    let mut wrong = 0;
    let once = matrix().into_iter().filter(|cell| rules::replaces(cell.call));
    for (cell, once) in table.iter().zip(once) {
        assert_eq!(
            (cell.call.name, cell.relation, cell.credential),
            (once.call.name, once.relation, once.credential)
        );
        differing += usize::from(cell.expected != once.expected);
        let answer = play(&client, &credentials, cell.call, cell.relation, cell.credential).await;
        wrong += usize::from(Verdict::of(&answer) != cell.expected);
    }
    assert!(wrong == differing && differing >= 28, "{wrong} {differing} of {}", table.len());
    crate::tell(&format!("control: the other way to store is wrong in {wrong} cells"));
}

/// Over a store that fails, so that nothing is missing but what has no route.
fn verdict_of(answer: &Answer) -> Verdict {
    if answer.status == 404 { Verdict::Absent } else { Verdict::of(answer) }
}

/// Both listeners of a service, by the order of `LISTENERS`, and the store that both ask.
async fn listeners(
    credentials: &Credentials,
) -> ([Client; 2], Arc<proof_storage::backend::faulty::Faulty<Memory>>) {
    let store = failing();
    let mut config = configured(credentials);
    config.server.admin_listen = Some(([127, 0, 0, 1], 0).into());
    let main = Client::over(store.clone(), config).await;
    let admin = main.admin();
    ([main, admin], store)
}

#[tokio::test]
async fn with_an_admin_address_each_cell_is_as_the_table_says() {
    let credentials = Credentials::make();
    let ([main, admin], store) = listeners(&credentials).await;
    let (mut found, mut absent) = (Vec::new(), 0);
    let cells = admin_table();
    for (listener, call, credential, expected) in &cells {
        let client = if *listener == Listener::Main { &main } else { &admin };
        let before = store.injected().len();
        let answer = play(client, &credentials, *call, 0, *credential).await;
        let got = verdict_of(&answer);
        if got != *expected {
            let (listener, name) = (listener.name(), CREDENTIALS[*credential]);
            let status = answer.status;
            found.push(format!("{listener} {} {name}: {status}, not {expected:?}", call.name));
        }
        if *listener == Listener::Admin && *expected == Verdict::Absent {
            assert_eq!(store.injected().len(), before, "{} reached a proof", call.name);
            absent += 1;
        }
    }
    assert!(found.is_empty(), "{} of {}:\n{}", found.len(), cells.len(), found.join("\n"));
    assert!(absent >= 900, "{absent}");
    crate::tell(&format!("counted: {} cells with an admin address, 0 wrong", cells.len()));
}

/// Negative control: a service without an address apart has the figures on its one listener, and a
/// listener that asks nobody is wrong wherever the main one refuses or lets nobody through.
#[tokio::test]
async fn a_listener_of_the_other_kind_is_noticed() {
    let credentials = Credentials::make();
    let alone = Client::over(failing(), configured(&credentials)).await;
    let ([_, admin], _) = listeners(&credentials).await;
    let (mut figures, mut others) = (0, 0);
    for (_, call, credential, expected) in
        admin_table().into_iter().filter(|(listener, ..)| *listener == Listener::Main)
    {
        let answer = play(&alone, &credentials, call, 0, credential).await;
        let wrong = verdict_of(&answer) != expected;
        assert_eq!(wrong, rules::is_figures(call), "{}", call.name);
        figures += usize::from(wrong);
        let answer = play(&admin, &credentials, call, 0, credential).await;
        others += usize::from(verdict_of(&answer) != expected);
    }
    assert!(figures == 3 * CREDENTIALS.len() && others >= 1_000, "{figures} {others}");
    crate::tell(&format!("control: other listeners are wrong in {} cells", figures + others));
}
