//! Configuration: the environment over an optional TOML file over defaults.
//!
//! [`Config::load`] reads everything, checks everything, and reports all mistakes together, before
//! anything starts; what it gives back is sound and typed. A program that embeds the service fills
//! in the same structs itself: `Config::default()` is what an empty environment gives.
//!
//! One table, [`SETTINGS`], names every setting; each struct's fields say what they mean.
//! Called by the command line; imports value types of `model` and nothing else of this crate.

mod audit;
mod auth;
mod backend;
mod environment;
mod file;
mod keys;
mod limits;
mod log;
mod parse;
mod pool;
mod problems;
mod proxies;
mod reader;
mod remote;
mod retention;
mod secret;
mod server;
mod settings;
mod slip;
mod storage;
mod tls;
mod tokens;
mod url;
mod variables;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

pub use audit::{AuditConfig, AuditFailure, AuditMode, AuditSync, read_audit_key};
pub use auth::{AuthConfig, AuthMode, JwksSource, JwtConfig, TokensFile};
pub use backend::{BackendConfig, BackendKind, LocalConfig};
pub use keys::{BACKEND_KEYS, BackendKey};
pub use limits::{LimitsConfig, RateConfig};
pub use log::{LogConfig, LogFormat};
pub use pool::PoolConfig;
pub use problems::{Problem, Problems};
pub use proxies::{ProxiesConfig, ProxyHeader};
pub use reader::{Effective, Source};
pub use remote::{Credentials, RemoteConfig};
pub use secret::{MIN_SIGNING_KEY_BYTES, Secret, SigningKey};
pub use server::ServerConfig;
pub use settings::{Form, SETTINGS, Setting};
pub use storage::StorageConfig;
pub use tls::{TlsConfig, TlsFiles, TlsIdentity};
pub use tokens::{TokenEntry, parse_expiry, parse_scopes, parse_token_name, read_tokens};
pub use url::{BaseUrl, CorsOrigins};

use environment::Environment;
use file::FileValues;
use reader::Reader;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const TIB: u64 = 1 << 40;

/// Everything a person can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the service is reached and how it stops.
    pub server: ServerConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Whether it is written down who changed what, and how.
    pub audit: AuditConfig,
    /// What one caller, or all together, may take.
    pub limits: LimitsConfig,
    /// How proofs are kept, whatever keeps them.
    pub storage: StorageConfig,
    /// What keeps them, in the order in which it is asked; never empty.
    pub backends: Vec<BackendConfig>,
    /// How several of them work together.
    pub pool: PoolConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// What a configuration is read from. Its `Debug` names variables and shows none of their values.
#[derive(Clone, Default)]
pub struct Sources {
    /// Variables, by name.
    pub environment: Vec<(OsString, OsString)>,
    /// TOML file named on the command line; else `STORAGE_CONFIG` names it, else there is none.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Those of this process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self { environment: std::env::vars_os().collect(), file }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources").field("environment", &names).field("file", &self.file).finish()
    }
}

/// A sound configuration, and how it came about.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd and yet no mistake: to be logged once logging is up.
    pub warnings: Vec<String>,
    /// Each setting as it takes effect, in the order of [`SETTINGS`], without secrets.
    pub effective: Vec<Effective>,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// All mistakes, each with its variable or key and the remedy.
    pub fn load(sources: Sources) -> Result<Loaded, Problems> {
        let mut problems = Problems::default();
        let mut warnings = Vec::new();
        let environment = Environment::read(sources.environment, &mut problems, &mut warnings);
        let (path, source) = match (sources.file, environment.setting(settings::CONFIG.variable)) {
            (Some(path), _) => (Some(path), Source::CommandLine),
            (None, Some(path)) => (Some(PathBuf::from(path)), Source::Variable),
            (None, None) => (None, Source::Default),
        };
        let mut file = FileValues::default();
        if let Some(path) = &path {
            let name = path.display().to_string();
            match std::fs::read_to_string(path) {
                Ok(text) => file = FileValues::read(&text, &name, &mut problems),
                Err(error) => problems.push(name, format!("cannot be read: {error}")),
            }
        }
        let (config, mut effective) = Self::of(&environment, &file, &mut problems, &mut warnings);
        effective.push(Effective {
            variable: settings::CONFIG.variable,
            value: path.map(|path| path.display().to_string()),
            source,
        });
        effective.sort_by_key(|shown| {
            SETTINGS.iter().position(|setting| setting.variable == shown.variable)
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Loaded { config, warnings, effective })
    }

    fn of(
        environment: &Environment,
        file: &FileValues,
        problems: &mut Problems,
        warnings: &mut Vec<String>,
    ) -> (Self, Vec<Effective>) {
        let mut reader = Reader { environment, file, problems, warnings, effective: Vec::new() };
        (Self::read(&mut reader), reader.effective)
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let server = ServerConfig::read(reader);
        let audit = AuditConfig::read(reader);
        let limits = LimitsConfig::read(reader);
        let auth = AuthConfig::read(reader, &server, limits.reach);
        let (mut storage, common) = StorageConfig::read(reader, limits.reach);
        let pool::Kept { backends, pool, seals } = pool::read(reader, &common);
        storage.seals = seals;
        let log = LogConfig::read(reader);
        Self { server, auth, audit, limits, storage, backends, pool, log }
    }

    /// The backend that a write goes to first.
    pub fn home(&self) -> Option<&BackendConfig> {
        self.backends.iter().find(|backend| backend.role.takes_writes())
    }
}

impl Default for Config {
    fn default() -> Self {
        let (environment, file) = Default::default();
        Self::of(&environment, &file, &mut Problems::default(), &mut Vec::new()).0
    }
}

/// Takes any text for the file and any for variables: what a fuzzer calls. The same is read twice, what is
/// wrong is named, and nothing that is said tells what was given for a secret.
///
/// # Panics
/// It is not, or does.
pub fn fuzz_config(file: &str, variables: &[(&str, &str)]) {
    let read = || {
        let (mut problems, mut warnings) = Default::default();
        let given = |(name, value): &(&str, &str)| (name.into(), value.into());
        let variables = variables.iter().map(given).collect();
        let environment = Environment::read(variables, &mut problems, &mut warnings);
        let file = FileValues::read(file, "fuzzed.toml", &mut problems);
        let (config, effective) = Config::of(&environment, &file, &mut problems, &mut warnings);
        (config, effective, warnings, problems.to_string())
    };
    let found = read();
    assert_eq!(found, read());
    let told = format!("{found:?}");
    for (name, value) in variables {
        let secret = SETTINGS.iter().any(|s| s.variable == *name && s.form == Form::Secret);
        // A short one may stand there for another reason, and one that is given twice is no secret.
        let known = variables.iter().any(|(other, v)| other != name && v.contains(*value))
            || file.contains(*value);
        if secret && value.len() > 15 && !known {
            assert!(!told.contains(*value), "{name} is told");
        }
    }
}
