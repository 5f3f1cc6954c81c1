//! The report: one section per scenario, each replaced by itself in bench/RESULTS.md.

use std::fs;

use crate::Result;

const INTRODUCTION: &str = "\
# Results of `just bench`

Written by `cargo run --release -p bench -- all --write`; `bench/README.md` says how to read it.
Every contestant runs on 127.0.0.1 of the same machine and shares its cores with the load
generator (`wrk`, one thread), so **ratios within a table count, absolute figures do not travel**.
Figures are medians of alternated runs with (lowest-highest), ratios medians of the runs' own. CPU is user and system time of the
contestant alone, per request. Every answer was checked: a run with one wrong byte, error or
forgotten write ends without a table.
";

/// Everything measured in one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sections: Vec<Section>,
}

/// One scenario's tables.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its name in the file's markers: never changed.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// Where, when and how long.
    pub(crate) conditions: String,
    /// Tables and remarks, as Markdown.
    pub(crate) body: String,
}

impl Section {
    fn to_markdown(&self) -> String {
        format!("## {}\n\n{}\n\n{}", self.title, self.conditions, self.body.trim_end())
    }
}

impl Report {
    /// Only what was measured now.
    pub(crate) fn to_markdown(&self) -> String {
        self.sections.iter().map(|section| section.to_markdown() + "\n\n").collect()
    }

    /// Replaces the sections measured now, and leaves the others as they are.
    pub(crate) fn write(&self) -> Result<()> {
        let file = crate::project().join("RESULTS.md");
        let mut text = fs::read_to_string(&file).unwrap_or_default();
        for section in &self.sections {
            text = replaced(&text, section);
        }
        Ok(fs::write(file, text)?)
    }
}

/// A table of Markdown: the first row is its head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
        if place == 0 {
            let rule: String = row.iter().skip(1).map(|_| "---:|").collect();
            text.push_str(&format!("|---|{rule}\n"));
        }
    }
    text
}

fn replaced(text: &str, section: &Section) -> String {
    let (open, close) =
        (format!("<!-- {} -->\n", section.name), format!("<!-- end of {} -->\n", section.name));
    let block = format!("{open}{}\n{close}", section.to_markdown());
    let place = text.find(&open).zip(text.find(&close));
    match place {
        Some((start, end)) => {
            format!("{}{block}{}", &text[..start], &text[end + close.len()..])
        }
        None if text.is_empty() => format!("{INTRODUCTION}\n{block}"),
        None => format!("{}\n\n{block}", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &'static str, body: &str) -> Section {
        Section { name, title: name.into(), conditions: "here".into(), body: body.into() }
    }

    #[test]
    fn a_section_replaces_itself_and_nothing_else() {
        let first = replaced("", &section("get", "old"));
        let both = replaced(&first, &section("put", "kept"));
        let again = replaced(&both, &section("get", "new"));
        assert!(again.contains("new") && again.contains("kept") && !again.contains("old"));
        assert_eq!(again, both.replace("old", "new"));
        assert_eq!(again.matches("# Results").count(), 1);
    }
}
