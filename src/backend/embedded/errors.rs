//! From the engine's failures to [`StoreError`], and the fence around its panics.
//!
//! Damaged data must never take the process down: the engine asserts more than it checks, so
//! every call into it that touches stored bytes goes through [`fence`].

use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::{ErrorKind, ObjectKey, Provider, StoreError};

/// A cause that is only a text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

pub(super) fn error(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> StoreError {
    StoreError::new(kind, Provider::Local, detail)
}

pub(super) fn not_found(key: &ObjectKey) -> StoreError {
    error(ErrorKind::NotFound, format!("there is no object '{key}'"))
}

pub(super) fn corrupt(detail: impl Into<Cow<'static, str>>, cause: impl Display) -> StoreError {
    error(ErrorKind::Corrupt, detail).with_source(Cause(cause.to_string()))
}

pub(super) fn invalid(detail: impl Into<Cow<'static, str>>, cause: impl Display) -> StoreError {
    error(ErrorKind::Invalid, detail).with_source(Cause(cause.to_string()))
}

pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>, cause: impl Display) -> StoreError {
    error(ErrorKind::Unavailable, detail).with_source(Cause(cause.to_string()))
}

pub(super) fn closed() -> StoreError {
    error(ErrorKind::Unavailable, "the store is closing")
}

/// Calls the engine for a read: its errors and its panics become ours.
pub(super) fn fence<T>(call: impl FnOnce() -> Result<T, fjall::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(of_read(&cause)),
        Err(panic) => Err(corrupt("the stored data is damaged", panic_text(&*panic))),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&'static str>().copied());
    format!("the storage engine panicked: {}", text.unwrap_or("no message"))
}

/// The operating system's error behind an engine's error, where there is one.
pub(super) fn io_cause(cause: &fjall::Error) -> Option<&io::Error> {
    match cause {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => Some(io),
        _ => None,
    }
}

fn of_read(cause: &fjall::Error) -> StoreError {
    let damaged = match io_cause(cause) {
        // Reading past the end, or what cannot be parsed, is the file's fault, not the disk's.
        Some(io) => matches!(
            io.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
        ),
        None => !matches!(cause, fjall::Error::Poisoned | fjall::Error::Locked),
    };
    if damaged {
        corrupt("the stored data is damaged", cause)
    } else {
        unavailable("the disk cannot be read", cause)
    }
}
