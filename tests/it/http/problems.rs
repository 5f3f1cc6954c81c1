//! Snapshots: the exact body of every problem, as a client program sees it.

use proof_storage::http::{Code, Problem};
use proof_storage::model::{ErrorKind, Provider, StoreError};

#[test]
fn every_code_has_its_body() {
    let lines: Vec<_> = Code::ALL
        .into_iter()
        .map(|code| Problem::new(code, "what is wrong").to_json("id").to_string())
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_kind_of_backend_error_has_its_code() {
    let kinds = [
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::Contended,
        ErrorKind::Retained,
        ErrorKind::PreconditionFailed,
        ErrorKind::AccessDenied,
        ErrorKind::QuotaExceeded,
        ErrorKind::Invalid,
        ErrorKind::Unsupported,
        ErrorKind::Corrupt,
        ErrorKind::KeyMissing,
        ErrorKind::Failed,
        ErrorKind::Unavailable,
        ErrorKind::Misconfigured,
        ErrorKind::Indeterminate,
        ErrorKind::Timeout,
    ];
    let lines = kinds.map(|kind| {
        let source = std::io::Error::other("a secret path of the server");
        let error =
            StoreError::new(kind, Provider::Local, "text for the client").with_source(source);
        let body = Problem::from(error).to_json("id");
        assert!(!body.to_string().contains("secret"), "the cause is for the log");
        assert_eq!(body["provider"], "local");
        format!("{kind:?}: {} {}", body["status"], body["code"])
    });
    insta::assert_snapshot!(lines.join("\n"));
}
