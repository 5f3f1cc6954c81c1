//! The closed sets of label values.

use crate::model::{ErrorKind, StoreError};

/// A closed set whose members have a name and a place in an array.
pub trait Label: Copy + 'static {
    /// Every member, in order.
    const ALL: &'static [Self];

    /// The label's value.
    fn as_str(self) -> &'static str;

    /// Place in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$member_doc:meta])* $member:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$member_doc])* $member,)* }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$member),*];

            fn as_str(self) -> &'static str {
                match self { $(Self::$member => $text,)* }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Which part of the API a request asked for.
    pub Route {
        /// `/v1/proofs/{key}`.
        Object = "object",
        /// `/v1/proofs`.
        Objects = "objects",
        /// `/v1/metadata/{key}`.
        Metadata = "metadata",
        /// `/v1/retention/{key}`.
        Retention = "retention",
        /// `/v1/copy`.
        Copy = "copy",
        /// `/v1/move`.
        Move = "move",
        /// `/v1/batch-delete`.
        BatchDelete = "batch_delete",
        /// `/v1/signed-urls`.
        SignedUrls = "signed_urls",
        /// `/v1/signed/{token}/{key}`.
        Signed = "signed",
        /// `/v1/stats`.
        Stats = "stats",
        /// `/v1/backends`.
        Backends = "backends",
        /// `/health`.
        Health = "health",
        /// `/health/ready`.
        Ready = "ready",
        /// `/metrics`.
        Metrics = "metrics",
        /// `/openapi.yaml`.
        OpenApi = "openapi",
        /// `/docs`.
        Docs = "docs",
        /// Anything else: a path that is not ours.
        Other = "other",
    }
}

label! {
    /// Method of a request. Methods that we never answer are one.
    pub Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// PUT.
        Put = "PUT",
        /// POST.
        Post = "POST",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// Any other.
        Other = "other",
    }
}

impl From<&http::Method> for Method {
    fn from(method: &http::Method) -> Self {
        match *method {
            http::Method::GET => Self::Get,
            http::Method::HEAD => Self::Head,
            http::Method::PUT => Self::Put,
            http::Method::POST => Self::Post,
            http::Method::DELETE => Self::Delete,
            http::Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }
}

label! {
    /// First digit of a status.
    pub(super) StatusClass {
        /// 100-199.
        Informational = "1xx",
        /// 200-299.
        Success = "2xx",
        /// 300-399.
        Redirection = "3xx",
        /// 400-499.
        ClientError = "4xx",
        /// 500 and above.
        ServerError = "5xx",
    }
}

impl From<http::StatusCode> for StatusClass {
    fn from(status: http::StatusCode) -> Self {
        match status.as_u16() {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

label! {
    /// Call of the `Backend` trait.
    pub Operation {
        /// `put`.
        Put = "put",
        /// `get`, up to the object's head.
        Get = "get",
        /// The body of a `get` that is streamed, up to its end.
        GetBody = "get_body",
        /// `head`.
        Head = "head",
        /// `delete`.
        Delete = "delete",
        /// `delete_many`.
        DeleteMany = "delete_many",
        /// `list`.
        List = "list",
        /// `copy`.
        Copy = "copy",
        /// `rename`.
        Rename = "rename",
        /// `presign`.
        Presign = "presign",
        /// `usage`.
        Usage = "usage",
        /// `probe`.
        Probe = "probe",
    }
}

label! {
    /// How a backend's operation ended.
    pub Outcome {
        /// Done.
        Ok = "ok",
        /// No such object.
        NotFound = "not_found",
        /// A create met an object.
        Conflict = "conflict",
        /// Another write of the key was under way.
        Contended = "contended",
        /// Another version was there.
        Precondition = "precondition",
        /// Refused to us.
        Denied = "denied",
        /// No room.
        Quota = "quota",
        /// The request can never succeed.
        Invalid = "invalid",
        /// The backend lacks the capability.
        Unsupported = "unsupported",
        /// The stored bytes are not what was stored.
        Corrupt = "corrupt",
        /// Broke, and did not happen.
        Failed = "failed",
        /// Was not taken for now.
        Unavailable = "unavailable",
        /// Credentials, bucket or clock are refused.
        Misconfigured = "misconfigured",
        /// No answer in time.
        Timeout = "timeout",
        /// May have happened.
        Indeterminate = "indeterminate",
        /// The caller went away first.
        Cancelled = "cancelled",
    }
}

impl From<&StoreError> for Outcome {
    fn from(error: &StoreError) -> Self {
        error.kind().into()
    }
}

impl From<ErrorKind> for Outcome {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyExists | ErrorKind::Retained => Self::Conflict,
            ErrorKind::Contended => Self::Contended,
            ErrorKind::PreconditionFailed => Self::Precondition,
            ErrorKind::AccessDenied => Self::Denied,
            ErrorKind::QuotaExceeded => Self::Quota,
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Failed => Self::Failed,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Misconfigured | ErrorKind::KeyMissing => Self::Misconfigured,
            ErrorKind::Indeterminate => Self::Indeterminate,
            ErrorKind::Timeout => Self::Timeout,
        }
    }
}

label! {
    /// Why a request was turned away, or a connection made to wait, without being looked at.
    pub Refusal {
        /// The bodies in memory fill the budget.
        MemoryBudget = "memory_budget",
        /// Too many connections are open.
        Connections = "connections",
        /// Too many connections are open from one address.
        AddressConnections = "address_connections",
        /// A client that was waited for made room for another.
        Displaced = "displaced",
        /// As many requests are worked on as may be.
        Overload = "overload",
        /// An address asks too often.
        AddressRate = "address_rate",
        /// A token is used too often.
        TokenRate = "token_rate",
        /// A body arrives too slowly.
        SlowUpload = "slow_upload",
        /// An answer is taken too slowly.
        SlowDownload = "slow_download",
        /// The service is stopping.
        Draining = "draining",
    }
}

label! {
    /// Why a connection did not become private.
    pub HandshakeFailure {
        /// The client took too long.
        Timeout = "timeout",
        /// It went away.
        Closed = "closed",
        /// It spoke plain HTTP.
        PlainHttp = "plain_http",
        /// There is no version, cipher or protocol that both speak.
        Incompatible = "incompatible",
        /// A certificate is demanded, and it showed none.
        NoCertificate = "no_certificate",
        /// Its certificate is not taken.
        BadCertificate = "bad_certificate",
        /// It refused: often it does not take the certificate of the service.
        Refused = "refused",
        /// It does not speak TLS as it is written down.
        Protocol = "protocol",
    }
}

label! {
    /// Where credentials are read from.
    pub CredentialSource {
        /// The file of API tokens.
        Tokens = "tokens",
        /// The keys of the identity provider.
        Jwks = "jwks",
        /// The certificate of the service, its key and the authorities of clients.
        Certificate = "certificate",
    }
}

label! {
    /// How a reading ended.
    pub(super) Reading {
        /// What was read is taken.
        Ok = "ok",
        /// It could not be read or understood: what was known before stays.
        Failed = "failed",
    }
}

label! {
    /// Why a call was refused.
    pub Denial {
        /// The caller did not say who it is, or not truly.
        Unauthenticated = "unauthenticated",
        /// The caller may not do this.
        Denied = "denied",
        /// A signed URL was changed, has expired, or whoever signed it lost the right.
        Signature = "signature",
    }
}

label! {
    /// What became of a line of the audit log.
    pub AuditLine {
        /// It stands in the log.
        Written = "written",
        /// It could not be written.
        Lost = "lost",
    }
}

label! {
    /// What became of a further call that the retrier had cause for.
    pub Retried {
        /// Made, and answered.
        Answered = "answered",
        /// Made, and failed again.
        Failed = "failed",
        /// Not needed: a look showed that the call with the lost answer had taken effect.
        Settled = "settled",
        /// Not made: the budget of retries was spent.
        NoBudget = "no_budget",
        /// Not made: it would have come too late for the caller.
        TooLate = "too_late",
    }
}

label! {
    /// Whether calls reach a backend. The place is the gauge's value.
    pub BreakerState {
        /// They do.
        Closed = "closed",
        /// One does, to see whether the backend is well again.
        HalfOpen = "half_open",
        /// None does.
        Open = "open",
    }
}
