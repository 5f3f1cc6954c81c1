//! `token create`: a new API token, and what the service keeps of it.
//!
//! The token goes to standard error and its entry to standard output, so that
//! `proof-storage token create … >> tokens.toml` keeps what belongs there and shows what does not.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{EXIT_MISTAKE, Report};
use crate::access::ApiToken;
use crate::config::{parse_expiry, parse_scopes, parse_token_name};
use crate::model::KeyPrefix;

/// What to do with tokens.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum TokenCommand {
    /// Make a new API token.
    ///
    /// Prints the token once, on standard error: it is kept nowhere. Prints its entry for the file of
    /// STORAGE_TOKENS_FILE, with the token's SHA-256, on standard output.
    Create(NewToken),
}

/// A token to be made.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Whose it is; stands in the log.
    #[arg(long)]
    pub name: String,
    /// What it allows: read, write, delete, list, sign or admin. May be given several times.
    #[arg(long = "scope", required = true, value_delimiter = ',')]
    pub scopes: Vec<String>,
    /// What the keys begin with for which it holds; else every key. May be given several times.
    #[arg(long = "prefix")]
    pub prefixes: Vec<String>,
    /// When it ends: a date such as 2027-01-31 (its first moment, in UTC) or 2027-01-31T18:00:00Z.
    #[arg(long)]
    pub expires: Option<String>,
    /// Print both as JSON, on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Does what is to be done with tokens.
pub fn run_token(command: TokenCommand) -> ExitCode {
    let TokenCommand::Create(new) = command;
    let mistakes = new.mistakes();
    if !mistakes.is_empty() {
        return Report { out: String::new(), err: mistakes, code: EXIT_MISTAKE }.print();
    }
    match ApiToken::make() {
        Ok(token) => new.report(&token).print(),
        Err(error) => {
            let err = format!("the operating system gives no random bytes: {error}\n");
            Report { out: String::new(), err, code: 1 }.print()
        }
    }
}

impl NewToken {
    /// One line for each.
    fn mistakes(&self) -> String {
        let scopes = parse_scopes(self.scopes.iter().map(String::as_str));
        let found = [
            ("--name", parse_token_name(&self.name).err()),
            ("--scope", scopes.err()),
            ("--expires", self.expires.as_deref().and_then(|text| parse_expiry(text).err())),
        ];
        let prefixes = self.prefixes.iter().map(|text| ("--prefix", KeyPrefix::parse(text).err()));
        let found = found.into_iter().chain(prefixes);
        found.filter_map(|(name, text)| Some(format!("{name}: {}\n", text?))).collect()
    }

    fn report(&self, token: &ApiToken) -> Report {
        let sha256 = token.sha256().to_hex();
        if self.json {
            let out = json!({
                "token": token.expose(),
                "name": self.name,
                "sha256": sha256,
                "scopes": self.scopes,
                "prefixes": self.prefixes,
                "expires": self.expires,
            });
            return Report { out: format!("{out:#}\n"), err: String::new(), code: 0 };
        }
        let list = |texts: &[String]| {
            let texts: Vec<_> = texts.iter().map(|text| toml_text(text)).collect();
            format!("[{}]", texts.join(", "))
        };
        let mut out = format!(
            "\n[[token]]\nname = {}\nsha256 = \"{sha256}\"\nscopes = {}\n",
            toml_text(&self.name),
            list(&self.scopes)
        );
        // A `String` takes any text.
        if !self.prefixes.is_empty() {
            let _ = writeln!(out, "prefixes = {}", list(&self.prefixes));
        }
        if let Some(expires) = &self.expires {
            let _ = writeln!(out, "expires = {}", toml_text(expires));
        }
        let err = format!(
            "The token, shown this once and kept nowhere:\n\n    {}\n\nIts entry for the file that \
             STORAGE_TOKENS_FILE names (in a configuration file: [[auth.token]]):\n",
            token.expose()
        );
        Report { out, err, code: 0 }
    }
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::read_tokens;
    use crate::model::{Namespace, Scope};

    fn new() -> NewToken {
        NewToken {
            name: "ci".to_owned(),
            scopes: vec!["read".to_owned(), "list".to_owned()],
            prefixes: vec!["a \"b\"/".to_owned()],
            expires: Some("2999-01-31".to_owned()),
            json: false,
        }
    }

    #[test]
    fn the_entry_is_what_the_service_reads_and_has_no_secret() {
        let token = ApiToken::make().unwrap();
        let report = new().report(&token);
        assert!(!report.out.contains(token.expose()) && report.err.contains(token.expose()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), report.out).unwrap();
        let [entry] = &read_tokens(file.path()).unwrap()[..] else { panic!("one token") };
        assert_eq!((&*entry.name, entry.sha256), ("ci", token.sha256()));
        assert!(entry.expires.unwrap() > SystemTime::now());
        let key = Namespace::new("").unwrap().key("a \"b\"/c").unwrap();
        assert!(entry.rights.allow(Scope::Read, &key) && !entry.rights.allow(Scope::Write, &key));
    }

    #[test]
    fn json_has_both() {
        let token = ApiToken::make().unwrap();
        let report = NewToken { json: true, ..new() }.report(&token);
        let document: serde_json::Value = serde_json::from_str(&report.out).unwrap();
        assert_eq!(document["token"], token.expose());
        assert_eq!(document["sha256"], token.sha256().to_hex());
        assert_eq!(report.err, "");
    }

    #[test]
    fn mistakes_come_together_and_make_no_token() {
        let wrong = NewToken {
            name: "a b".to_owned(),
            scopes: vec!["reed".to_owned()],
            prefixes: vec!["/a".to_owned()],
            expires: Some("soon".to_owned()),
            json: false,
        };
        let mistakes = wrong.mistakes();
        for name in ["--name", "--scope", "--prefix", "--expires"] {
            assert!(mistakes.contains(&format!("{name}: ")), "{mistakes}");
        }
        assert_eq!(new().mistakes(), "");
    }
}
