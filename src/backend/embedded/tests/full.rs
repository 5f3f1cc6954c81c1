//! A disk that fills up, for real: a small tmpfs, mounted where the test may.

use std::process::Command;

use super::*;

/// A mounted file system of its own; unmounted with the value.
struct Volume(tempfile::TempDir);

impl Volume {
    fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
async fn full_disk_refuses_writes_and_keeps_the_rest() {
    let Some(volume) = Volume::mount("size=64m") else {
        println!("SKIPPED: mounting a tmpfs needs root");
        return;
    };
    let root = volume.0.path().join("data");
    let store = open(&root);
    let mut kept = Vec::new();
    let mut refused = 0;
    for n in 0..4000_u64 {
        let (name, bytes) = (format!("f/{n:04}"), noise(n + 1, 20_000));
        match put(&store, &name, &bytes, PutMode::Create).await {
            Ok(_) => kept.push((name, n)),
            Err(cause) => {
                assert_eq!(cause.kind(), ErrorKind::QuotaExceeded, "{cause:?}");
                refused += 1;
                if refused > 50 {
                    break;
                }
            }
        }
    }
    assert!(refused > 50 && kept.len() > 200, "{} kept, {refused} refused", kept.len());
    let big = noise(1, 3 << 20);
    let large = put(&store, "large", &big, PutMode::Create).await.unwrap_err();
    assert_eq!(large.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(store.read_only_reason(), None, "the engine never met the full disk");
    for (name, _) in kept.drain(..kept.len() / 2) {
        assert!(store.delete(&key(&name), None).await.unwrap() == Some(true), "deletes go on");
    }
    for (name, n) in &kept {
        assert_eq!(read(&store, name).await.unwrap(), noise(n + 1, 20_000), "{name}");
    }
    drop(store);
    let store = open(&root);
    assert_eq!(store.damage(), Vec::<String>::new());
    assert_eq!(store.usage().await.unwrap().objects, kept.len() as u64);
    for (name, n) in &kept {
        assert_eq!(read(&store, name).await.unwrap(), noise(n + 1, 20_000), "{name}");
    }
}
