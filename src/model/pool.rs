//! How several backends work together.

/// What a pool makes of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolMode {
    /// A proof's home is the first member; the others take over what it cannot take.
    Fallback,
    /// A proof's home is every member.
    Mirror,
}

impl PoolMode {
    /// The name in configuration and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Mirror => "mirror",
        }
    }
}

/// What a member of a pool is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    #[default]
    ReadWrite,
    /// Nothing is ever written or deleted there.
    ReadOnly,
    /// Never asked for a proof while somebody else can be.
    WriteOnly,
    /// To be emptied: takes no new proof, and what it has moves to the others.
    Drain,
}

impl Role {
    /// The name in configuration and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::WriteOnly => "write-only",
            Self::Drain => "drain",
        }
    }

    /// Whether new proofs go there.
    pub fn takes_writes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::WriteOnly)
    }

    /// Whether proofs are read from there.
    pub fn serves_reads(self) -> bool {
        !matches!(self, Self::WriteOnly)
    }

    /// Whether copies may be removed there.
    pub fn takes_deletes(self) -> bool {
        !matches!(self, Self::ReadOnly)
    }
}
