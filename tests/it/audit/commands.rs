//! Commands that change what is stored leave lines too.

use std::path::Path;

use proof_storage::app::{self, ReconcileError, Rekey, StartError};
use proof_storage::config::{Config, Sources};
use proof_storage::pool::Reconcile;

const KEYRING: &str = "2026:active:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Two embedded stores, and the audit log in a folder of its own.
fn configured(folder: &Path) -> Config {
    let file = folder.join("config.toml");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let text = format!(
        "[storage]\ndata_dir = '{}'\nkeyring = '{KEYRING}'\n[audit]\nmode = 'file'\ndir = '{}'\n\
         [[backend]]\nname = 'a'\nprovider = 'local'\ndata_dir = '{}'\n\
         [[backend]]\nname = 'b'\nprovider = 'local'\ndata_dir = '{}'\n",
        path("data"),
        path("audit"),
        path("a"),
        path("b")
    );
    std::fs::write(&file, text).unwrap();
    Config::load(Sources { environment: Vec::new(), file: Some(file) }).unwrap().config
}

/// Action, result and actor of each line, and what `detail` says of the command.
fn lines(folder: &Path) -> Vec<String> {
    let segments = std::fs::read_dir(folder.join("audit")).unwrap();
    let mut paths: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    paths.sort();
    let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let told = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let command = line["detail"]["command"].as_str().unwrap_or_default().to_owned();
        let actor = line["actor"]["kind"].as_str().unwrap().to_owned();
        [word("action"), word("result"), actor, command].join(" ").trim_end().to_owned()
    };
    text.lines().map(told).filter(|line| !line.starts_with("segment")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_changed_is_written_down_and_what_it_only_counted_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let count = Rekey { dry_run: true, ..Rekey::default() };
    app::rekey(&config, count, std::future::pending()).await.unwrap().1.unwrap();
    let dry = Reconcile { dry_run: true, ..Reconcile::default() };
    app::reconcile(&config, dry).await.unwrap();
    assert!(!folder.path().join("audit").exists());

    app::rekey(&config, Rekey::default(), std::future::pending()).await.unwrap().1.unwrap();
    app::reconcile(&config, Reconcile::default()).await.unwrap();
    // One that is stopped before its end may have changed something.
    let (_, ended) = app::rekey(&config, Rekey::default(), std::future::ready(())).await.unwrap();
    let expected = [
        "start done command rekey",
        "rekey done command",
        "stop done command",
        "start done command reconcile",
        "reconcile done command",
        "stop done command",
        "start done command rekey",
        if ended.is_err() { "rekey indeterminate command" } else { "rekey done command" },
        "stop done command",
    ];
    assert_eq!(lines(folder.path()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_log_that_another_process_writes_a_command_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let service = super::in_folder(super::folder(&folder.path().join("audit")), None);
    let refused = app::rekey(&config, Rekey::default(), std::future::pending()).await.unwrap_err();
    assert!(matches!(refused, StartError::Audit(_)));
    assert!(refused.to_string().contains("STORAGE_AUDIT_DIR"), "{refused}");
    let refused = app::reconcile(&config, Reconcile::default()).await.unwrap_err();
    assert!(matches!(refused, ReconcileError::Start(StartError::Audit(_))), "{refused}");
    service.close().await;
    app::reconcile(&config, Reconcile::default()).await.unwrap();
}
