//! Reads the paths that a source file names, without compiling it.

use std::collections::BTreeMap;

/// A path that a file names, resolved: `crate::…` for this crate, else beginning with a crate's or a local name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// The path, `::`-separated.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Word(String),
    PathSeparator,
    Mark(char),
}

#[derive(Clone, Debug)]
struct Token {
    line: usize,
    kind: Kind,
}

impl Token {
    fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::PathSeparator | Kind::Mark(_) => None,
        }
    }

    fn is(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// Every path that code outside of `#[cfg(test)]` names.
pub fn uses_of(module: &str, source: &str) -> Vec<Use> {
    let tokens = without_tests(&tokens_of(source));
    let mut reader = Reader { tokens: &tokens, nesting: Vec::new(), depth: 0, module, aliases: BTreeMap::new() };
    // Names may be used above the line that imports them, so imports are read first.
    let imports = reader.imports();
    let mut found = reader.other_paths();
    found.extend(imports);
    found.sort_by(|left, right| (left.line, &left.path).cmp(&(right.line, &right.path)));
    found
}

/// Names of the modules that are declared `#[cfg(test)] mod name;`.
pub fn test_only_modules(source: &str) -> Vec<String> {
    let tokens = tokens_of(source);
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if let Some(after) = test_attribute(&tokens, index) {
            let item = skip_attributes(&tokens, after);
            let words: Vec<&str> = tokens[item..].iter().take(3).filter_map(Token::word).collect();
            let declaration = tokens[item..].iter().take(4).any(|token| token.is(';'));
            if let (true, [.., "mod", name]) = (declaration, words.as_slice()) {
                found.push((*name).to_owned());
            }
            index = after;
        } else {
            index += 1;
        }
    }
    found
}

/// Words and marks; comments, literals and lifetimes are left out.
fn tokens_of(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut tokens = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < text.len() {
        let start = index;
        let character = at(index);
        if character == '/' && at(index + 1) == '/' {
            while index < text.len() && at(index) != '\n' {
                index += 1;
            }
        } else if character == '/' && at(index + 1) == '*' {
            let mut depth = 0;
            while index < text.len() {
                match (at(index), at(index + 1)) {
                    ('/', '*') => depth += 1,
                    ('*', '/') => depth -= 1,
                    _ => {
                        index += 1;
                        continue;
                    }
                }
                index += 2;
                if depth == 0 {
                    break;
                }
            }
        } else if let Some(end) = raw_string_end(&text, index) {
            index = end;
        } else if character == '"' || (matches!(character, 'b' | 'c') && at(index + 1) == '"') {
            index += if character == '"' { 1 } else { 2 };
            while index < text.len() && at(index) != '"' {
                index += if at(index) == '\\' { 2 } else { 1 };
            }
            index += 1;
        } else if character == '\'' {
            // A character has its closing quote after one character or an escape; a lifetime has none.
            if at(index + 1) == '\\' {
                index += 3;
                while index < text.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            } else if at(index + 2) == '\'' {
                index += 3;
            } else {
                index += 1;
                while is_word(at(index)) {
                    index += 1;
                }
            }
        } else if is_word(character) {
            while is_word(at(index)) {
                index += 1;
            }
            tokens.push(Token { line, kind: Kind::Word(text[start..index].iter().collect()) });
        } else if character == ':' && at(index + 1) == ':' {
            tokens.push(Token { line, kind: Kind::PathSeparator });
            index += 2;
        } else {
            if !character.is_whitespace() {
                tokens.push(Token { line, kind: Kind::Mark(character) });
            }
            index += 1;
        }
        line += text[start..index.min(text.len())].iter().filter(|character| **character == '\n').count();
    }
    tokens
}

/// Where a raw string that begins here ends.
fn raw_string_end(text: &[char], start: usize) -> Option<usize> {
    let prefix = text[start..].iter().take_while(|character| matches!(character, 'b' | 'c' | 'r')).count();
    if prefix == 0 || prefix > 2 || text[start + prefix - 1] != 'r' {
        return None;
    }
    let hashes = text[start + prefix..].iter().take_while(|character| **character == '#').count();
    let open = start + prefix + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let mut index = open + 1;
    while index < text.len() {
        let closing = text[index + 1..].iter().take(hashes).filter(|character| **character == '#').count();
        if text[index] == '"' && closing == hashes {
            return Some(index + 1 + hashes);
        }
        index += 1;
    }
    Some(text.len())
}

/// The index after `#[cfg(test)]` (or `all(test, …)`), when one stands here.
fn test_attribute(tokens: &[Token], index: usize) -> Option<usize> {
    if !(tokens.get(index)?.is('#') && tokens.get(index + 1)?.is('[') && tokens.get(index + 2)?.word() == Some("cfg")) {
        return None;
    }
    let end = matching(tokens, index + 1);
    let words: Vec<&str> = tokens[index..end].iter().filter_map(Token::word).collect();
    (words.contains(&"test") && !words.contains(&"not")).then_some(end)
}

fn skip_attributes(tokens: &[Token], mut index: usize) -> usize {
    while tokens.get(index).is_some_and(|token| token.is('#'))
        && tokens.get(index + 1).is_some_and(|token| token.is('['))
    {
        index = matching(tokens, index + 1);
    }
    index
}

/// The index after the bracket that closes the one at `open`.
fn matching(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// Leaves out the items that only tests see.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut index = 0;
    while index < tokens.len() {
        let Some(after) = test_attribute(tokens, index) else {
            kept.push(tokens[index].clone());
            index += 1;
            continue;
        };
        index = skip_attributes(tokens, after);
        let import = tokens[index..].iter().take(3).any(|token| token.word() == Some("use"));
        while index < tokens.len() {
            match tokens[index].kind {
                Kind::Mark(';') => {
                    index += 1;
                    break;
                }
                Kind::Mark('{') if !import => {
                    index = matching(tokens, index);
                    break;
                }
                Kind::Mark('(' | '[' | '{') => index = matching(tokens, index),
                _ => index += 1,
            }
        }
    }
    kept
}

struct Reader<'a> {
    tokens: &'a [Token],
    /// Modules within the file, with the depth of braces they were opened at.
    nesting: Vec<(String, usize)>,
    depth: usize,
    module: &'a str,
    /// Local names of what is imported.
    aliases: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn imports(&mut self) -> Vec<Use> {
        let mut found = Vec::new();
        let mut index = 0;
        while index < self.tokens.len() {
            self.follow(index);
            if self.is_import(index) {
                let line = self.tokens[index].line;
                let mut leaves = Vec::new();
                index = self.tree(index + 1, Vec::new(), &mut leaves);
                for (path, alias) in leaves {
                    let path = self.resolved(&path);
                    self.aliases.insert(alias, path.clone());
                    found.push(Use { line, path });
                }
            } else {
                index += 1;
            }
        }
        found
    }

    fn is_import(&self, index: usize) -> bool {
        self.tokens[index].word() == Some("use") && self.tokens.get(index + 1).is_some_and(|next| !next.is('<'))
    }

    /// Keeps track of the modules within the file.
    fn follow(&mut self, index: usize) {
        match &self.tokens[index].kind {
            Kind::Mark('{') => {
                if let Some([before, name]) = index.checked_sub(2).and_then(|start| self.tokens.get(start..index))
                    && before.word() == Some("mod")
                    && let Some(name) = name.word()
                {
                    self.nesting.push((name.to_owned(), self.depth));
                }
                self.depth += 1;
            }
            Kind::Mark('}') => {
                self.depth = self.depth.saturating_sub(1);
                let depth = self.depth;
                self.nesting.retain(|(_, opened_at)| *opened_at < depth);
            }
            _ => {}
        }
    }

    /// Reads one tree of a `use` into its leaves: path and local name. Returns the index after it.
    fn tree(&self, mut index: usize, mut prefix: Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) -> usize {
        while let Some(token) = self.tokens.get(index) {
            match &token.kind {
                Kind::Word(word) if word == "as" => {
                    let alias = self.tokens.get(index + 1).and_then(Token::word).unwrap_or("_").to_owned();
                    leaves.push((prefix, alias));
                    return index + 2;
                }
                Kind::Word(word) if word == "self" && !prefix.is_empty() => index += 1,
                Kind::Word(word) => {
                    prefix.push(word.clone());
                    index += 1;
                }
                Kind::PathSeparator => index += 1,
                Kind::Mark('*') => {
                    prefix.push("*".to_owned());
                    index += 1;
                }
                Kind::Mark('{') => {
                    index += 1;
                    while self.tokens.get(index).is_some_and(|token| !token.is('}')) {
                        index = self.tree(index, prefix.clone(), leaves);
                        if self.tokens.get(index).is_some_and(|token| token.is(',')) {
                            index += 1;
                        }
                    }
                    return index + 1;
                }
                Kind::Mark(_) => break,
            }
        }
        let alias = prefix.last().cloned().unwrap_or_default();
        leaves.push((prefix, alias));
        index.max(1)
    }

    fn other_paths(&mut self) -> Vec<Use> {
        self.nesting.clear();
        self.depth = 0;
        let mut found = Vec::new();
        let mut index = 0;
        while index < self.tokens.len() {
            self.follow(index);
            if self.is_import(index) {
                index = self.tree(index + 1, Vec::new(), &mut Vec::new());
                continue;
            }
            let line = self.tokens[index].line;
            let mut path = Vec::new();
            while let Some(word) = self.tokens.get(index).and_then(Token::word) {
                path.push(word.to_owned());
                index += 1;
                let goes_on = self.tokens.get(index).is_some_and(|token| token.kind == Kind::PathSeparator);
                if !(goes_on && self.tokens.get(index + 1).is_some_and(|token| token.word().is_some())) {
                    break;
                }
                index += 1;
            }
            if path.len() > 1 {
                found.push(Use { line, path: self.resolved(&path) });
            }
            if path.is_empty() {
                index += 1;
            }
        }
        found
    }

    fn resolved(&self, path: &[String]) -> String {
        let Some(first) = path.first() else { return String::new() };
        if first == "self" || first == "super" {
            let ups =
                path.iter().take_while(|part| *part == "super" || *part == "self").filter(|part| *part == "super");
            let ups = ups.count();
            let rest = path.iter().skip_while(|part| *part == "super" || *part == "self");
            let mut module: Vec<&str> = self.module.split("::").collect();
            module.extend(self.nesting.iter().map(|(name, _)| name.as_str()));
            module.truncate(module.len().saturating_sub(ups));
            module.extend(rest.map(String::as_str));
            return format!("crate::{}", module.join("::"));
        }
        match self.aliases.get(first) {
            Some(whole) if first != "crate" => {
                let rest = path[1..].iter().map(String::as_str);
                std::iter::once(whole.as_str()).chain(rest).collect::<Vec<_>>().join("::")
            }
            _ => path.join("::"),
        }
    }
}
