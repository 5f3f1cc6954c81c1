//! What each file names outside itself, as absolute paths.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// A file of the crate, by its path from the crate's root such as `src/http/objects.rs`.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

/// One path that is not of the file's own module.
#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) file: String,
    /// Unit that imports.
    pub(super) from: String,
    /// `crate` and the path in it, or an outer crate's name and the path in that.
    pub(super) path: Vec<String>,
}

/// The part of the crate that rules are made for: a module at the top, a store below `backend`.
pub(super) fn unit(path: &[String]) -> String {
    match path {
        [top, store, ..] if top == "backend" && store.starts_with(char::is_lowercase) => {
            format!("{top}::{store}")
        }
        [top, ..] => top.clone(),
        [] => "lib".to_owned(),
    }
}

/// Every import of every file that is no test.
pub(super) fn read(sources: &[Source]) -> Vec<Import> {
    let parsed: Vec<(Vec<String>, &Source, syn::File)> = sources
        .iter()
        .map(|source| {
            let file = syn::parse_file(&source.text)
                .unwrap_or_else(|error| panic!("{}: {error}", source.path));
            (module_of(&source.path), source, file)
        })
        .collect();
    let tests: BTreeSet<Vec<String>> =
        parsed.iter().flat_map(|(module, _, file)| test_modules(module, &file.items)).collect();
    let mut imports = Vec::new();
    for (module, source, file) in &parsed {
        if tests.iter().any(|test| module.starts_with(test)) {
            continue;
        }
        let mut reader = Reader { module: module.clone(), ..Reader::default() };
        reader.aliases = aliases(&reader, &file.items);
        reader.visit_file(file);
        let root = matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs");
        let from = match root {
            true => source.path.trim_start_matches("src/").trim_end_matches(".rs").to_owned(),
            false => unit(module),
        };
        imports.extend(reader.paths.into_iter().map(|path| Import {
            file: source.path.clone(),
            from: from.clone(),
            path,
        }));
    }
    imports
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

/// Modules declared `#[cfg(test)] mod name;`, whose files are tests.
fn test_modules(module: &[String], items: &[Item]) -> Vec<Vec<String>> {
    let declared = items.iter().filter_map(|item| match item {
        Item::Mod(item) if item.content.is_none() && is_test(&item.attrs) => {
            Some([module, &[item.ident.to_string()]].concat())
        }
        _ => None,
    });
    declared.collect()
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Names that `use` binds at the file's top, such as `b` of `use crate::backend as b`.
fn aliases(reader: &Reader, items: &[Item]) -> BTreeMap<String, Vec<String>> {
    let mut bound = BTreeMap::new();
    for item in items {
        if let Item::Use(item) = item
            && !is_test(&item.attrs)
        {
            flatten(&item.tree, &mut Vec::new(), &mut |path, name| {
                if let Some(path) = reader.resolve(path) {
                    bound.insert(name, path);
                }
            });
        }
    }
    bound
}

/// Calls back with the full path and the bound name of each leaf of a `use`.
fn flatten(tree: &UseTree, path: &mut Vec<String>, leaf: &mut impl FnMut(&[String], String)) {
    let depth = path.len();
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, path, leaf);
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaf(path, path.last().cloned().unwrap_or_default());
        }
        UseTree::Name(name) => {
            path.push(name.ident.to_string());
            leaf(path, name.ident.to_string());
        }
        UseTree::Rename(rename) => {
            if rename.ident != "self" {
                path.push(rename.ident.to_string());
            }
            leaf(path, rename.rename.to_string());
        }
        UseTree::Glob(_) => {
            path.push("*".to_owned());
            leaf(path, "*".to_owned());
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path, leaf);
            }
        }
    }
    path.truncate(depth);
}

/// Tokens with the content of string literals left out: `target: "a::b"` imports nothing.
fn without_strings(tokens: &str) -> String {
    let mut text = String::with_capacity(tokens.len());
    let (mut inside, mut escaped) = (false, false);
    for c in tokens.chars() {
        match c {
            '"' if !escaped => inside = !inside,
            _ if !inside => text.push(c),
            _ => {}
        }
        escaped = inside && c == '\\' && !escaped;
    }
    text
}

#[derive(Default)]
struct Reader {
    /// Where in the crate the visitor stands, modules in the file included.
    module: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    paths: Vec<Vec<String>>,
}

impl Reader {
    /// Makes a path absolute; `None` where it stays in its module or names nothing at all.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let crate_path = |parts: &[String]| {
            let mut absolute = vec!["crate".to_owned()];
            absolute.extend_from_slice(parts);
            (absolute.len() > 1).then_some(absolute)
        };
        match path.first()?.as_str() {
            "crate" | "proof_storage" => crate_path(&path[1..]),
            "self" => crate_path(&[&self.module, &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let above = self.module.len().checked_sub(up)?;
                crate_path(&[&self.module[..above], &path[up..]].concat())
            }
            first => match self.aliases.get(first) {
                Some(target) => Some([target.as_slice(), &path[1..]].concat()),
                None => Some(path.to_vec()),
            },
        }
    }

    fn add(&mut self, path: &[String]) {
        self.paths.extend(self.resolve(path));
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut |path, _| found.push(path.to_vec()));
        found.iter().for_each(|path| self.add(path));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.add(&parts);
        visit::visit_path(self, path);
    }

    /// A macro's arguments are no syntax tree: its paths are picked out of the tokens.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let text = without_strings(&call.tokens.to_string()).replace(" :: ", "::");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        for word in words.filter(|word| word.contains("::")) {
            let parts: Vec<String> =
                word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            self.add(&parts);
        }
        visit::visit_macro(self, call);
    }

    /// Attributes name derives and tools, and hold the doc comments.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}
