//! How lines are written: after a crash, while they cannot be, and by many at once.

use proof_storage::audit::verify::{Asked, Wrong, verify};
use proof_storage::audit::{Action, Audit, Entry, OnFailure};
use proof_storage::telemetry::Metrics;

use super::{Paper, folder, in_folder, on_paper, options, stored, write};

#[tokio::test]
async fn a_line_that_a_crash_cut_off_is_set_aside_and_the_chain_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("audit-00000001.jsonl");
    let audit = in_folder(folder(place.path()), None);
    write(&audit, 3).await;
    audit.close().await;
    let whole = std::fs::read(&file).unwrap();
    let cut = whole.len() - 10;
    std::fs::write(&file, &whole[..cut]).unwrap();
    let found = verify(&[place.path().to_owned()], &Asked::default()).unwrap();
    assert_eq!(found.wrong.unwrap().wrong, Wrong::Truncated);

    let audit = in_folder(folder(place.path()), None);
    write(&audit, 2).await;
    audit.close().await;
    let found = verify(&[place.path().to_owned()], &Asked::default()).unwrap();
    assert_eq!(found.wrong, None);
    assert!(found.notes.iter().any(|note| note.contains("crash")), "{:?}", found.notes);
    let aside: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("set-aside"))
        .collect();
    let [aside] = &aside[..] else { panic!("{aside:?}") };
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    assert_eq!(std::fs::read(aside).unwrap(), &whole[last..cut], "nothing is thrown away");
}

/// Somebody edits a line while the service is stopped: what follows it is set aside at the start, and
/// no verification passes over that before a person has looked.
#[tokio::test]
async fn an_edit_does_not_hide_behind_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("audit-00000001.jsonl");
    let audit = in_folder(folder(place.path()), None);
    write(&audit, 3).await;
    audit.close().await;
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("key/1", "key/9")).unwrap();
    let audit = in_folder(folder(place.path()), None);
    write(&audit, 1).await;
    audit.close().await;
    let paths = [place.path().to_owned()];
    let finding = verify(&paths, &Asked::default()).unwrap().wrong.unwrap();
    assert_eq!(finding.wrong, Wrong::SetAside);
    let accepted = Asked { accepted: vec![finding.seq.unwrap()], ..Asked::default() };
    assert_eq!(verify(&paths, &accepted).unwrap().wrong, None);
}

#[tokio::test]
async fn a_folder_has_one_writer() {
    let place = tempfile::tempdir().unwrap();
    let audit = in_folder(folder(place.path()), None);
    let place_of = || super::Place::Folder(folder(place.path()));
    let second = Audit::open(options(place_of()), Metrics::new());
    assert!(second.err().unwrap().to_string().contains("another process"));
    audit.close().await;
    assert!(Audit::open(options(place_of()), Metrics::new()).is_ok());
}

#[tokio::test]
async fn nothing_may_change_while_no_line_can_be_written() {
    for on_failure in [OnFailure::Refuse, OnFailure::Serve] {
        let paper = Paper::default();
        let audit = on_paper(&paper, on_failure);
        write(&audit, 1).await;
        paper.refuses.store(true, std::sync::atomic::Ordering::Release);
        assert!(audit.submit(vec![stored("lost")]).written().await.is_err());
        assert_eq!(audit.ready().is_err(), on_failure == OnFailure::Refuse);
        assert!(audit.trouble().unwrap().contains("cannot be written"));
        paper.refuses.store(false, std::sync::atomic::Ordering::Release);
        while audit.trouble().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        write(&audit, 1).await;
        audit.close().await;
        let lines = paper.take();
        let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["store", "resume", "store"], "the log says that a line is not there");
        assert_eq!(lines[1]["detail"]["lost"], 1);
        assert_eq!(lines[2]["seq"], 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_make_one_chain() {
    let place = tempfile::tempdir().unwrap();
    let audit = in_folder(folder(place.path()), None);
    let tasks = (0..64).map(|_| {
        let audit = audit.clone();
        tokio::spawn(async move { write(&audit, 20).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    audit.close().await;
    let found = verify(&[place.path().to_owned()], &Asked::default()).unwrap();
    assert_eq!((found.wrong, found.lines), (None, 1 + 64 * 20));
}

/// Anybody can make the service refuse: that fills no disk, and the rest is counted.
#[tokio::test]
async fn refusals_beyond_measure_are_counted() {
    let paper = Paper::default();
    let audit = on_paper(&paper, OnFailure::Refuse);
    let refused = (0..1000).map(|_| Entry::of_service(Action::Refuse)).collect();
    audit.submit(refused).written().await.unwrap();
    audit.close().await;
    let lines = paper.take();
    assert!(lines.len() < 1000);
    let more = lines.last().unwrap();
    assert_eq!(more["action"], "refuse-more");
    assert_eq!(more["detail"]["count"].as_u64().unwrap() as usize + lines.len() - 1, 1000);
}
