//! Regular expressions as Envoy reads them: in
//! [RE2's syntax](https://github.com/google/re2/wiki/Syntax).
//!
//! We have no RE2, so a pattern is rewritten to the syntax of the `regex` crate, which grew from
//! the same roots, and compiled by that. What only one of the two knows is refused or rewritten
//! here; a pattern that passes is one that RE2 takes, as far as the documented syntax goes.

use regex::RegexBuilder;

/// RE2's limit for a counted repetition.
const MAX_REPEAT: u32 = 1000;
/// About what RE2's default memory budget allows.
const MAX_PROGRAM: usize = 4 << 20;

/// Why `pattern` is not a regular expression.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let rewritten = Rewriter::new(pattern).run()?;
    match RegexBuilder::new(&rewritten)
        .size_limit(MAX_PROGRAM)
        .build()
    {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err("it is too large".to_owned()),
        // The crate's text is a drawing over several lines; its last one says what is wrong.
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or("it does not parse");
            Err(last.trim_start_matches("error: ").to_owned())
        }
    }
}

struct Rewriter<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    out: String,
    /// Whether the last thing was a repetition, after which RE2 takes no second one.
    is_after_repeat: bool,
}

impl<'a> Rewriter<'a> {
    fn new(pattern: &'a str) -> Self {
        Self {
            rest: pattern.chars().peekable(),
            out: String::with_capacity(pattern.len() + 8),
            is_after_repeat: false,
        }
    }

    fn run(mut self) -> Result<String, String> {
        while let Some(c) = self.rest.next() {
            let was_after_repeat = std::mem::take(&mut self.is_after_repeat);
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    if was_after_repeat {
                        return Err(format!("{c:?} follows a repetition"));
                    }
                    self.out.push(c);
                    self.lazy();
                }
                '{' => self.counted(was_after_repeat)?,
                '(' => {
                    self.out.push(c);
                    self.group()?;
                }
                // Alone it is a character to RE2.
                '}' | ']' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                _ => self.out.push(c),
            }
        }
        Ok(self.out)
    }

    /// Takes the `?` that makes a repetition lazy.
    fn lazy(&mut self) {
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        self.is_after_repeat = true;
    }

    /// `{n}`, `{n,}` and `{n,m}` repeat; any other brace is a character.
    fn counted(&mut self, was_after_repeat: bool) -> Result<(), String> {
        let ahead: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let is_closed = self.rest.clone().nth(ahead.chars().count()) == Some('}');
        let (min, max) = match ahead.split_once(',') {
            Some((min, max)) => (min, max),
            None => (ahead.as_str(), ""),
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_closed || !is_number(min) || !(max.is_empty() || is_number(max)) {
            self.out.push_str("\\{");
            return Ok(());
        }
        if was_after_repeat {
            return Err(format!("{{{ahead}}} follows a repetition"));
        }
        let is_small = |text: &str| text.parse::<u32>().is_ok_and(|n| n <= MAX_REPEAT);
        if !is_small(min) || !(max.is_empty() || is_small(max)) {
            return Err(format!("{{{ahead}}} repeats more than {MAX_REPEAT} times"));
        }
        self.out.push('{');
        for c in self.rest.by_ref() {
            self.out.push(c);
            if c == '}' {
                break;
            }
        }
        self.lazy();
        Ok(())
    }

    /// What follows an opening parenthesis: nothing, flags, or a name.
    fn group(&mut self) -> Result<(), String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('?') {
            return Ok(());
        }
        match ahead.next() {
            Some('P' | '<') => {}
            Some(_) => {
                let flags: String = self
                    .rest
                    .clone()
                    .skip(1)
                    .take_while(|c| *c != ':' && *c != ')')
                    .collect();
                if !flags
                    .chars()
                    .all(|c| matches!(c, 'i' | 'm' | 's' | 'U' | '-'))
                {
                    return Err(format!("(?{flags} is not a group that RE2 knows"));
                }
            }
            None => {}
        }
        // So that the `?` is not taken for a repetition.
        if let Some(question_mark) = self.rest.next() {
            self.out.push(question_mark);
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(c) = self.rest.next() else {
            return Err("it ends in a backslash".to_owned());
        };
        match c {
            'Q' => self.quoted(),
            'C' => self.out.push('.'),
            _ => self.shared_escape(c, false)?,
        }
        Ok(())
    }

    /// Escapes that mean the same inside and outside a class.
    fn shared_escape(&mut self, c: char, is_in_class: bool) -> Result<(), String> {
        match c {
            // RE2's are ASCII; the Unicode ones are also slow to compile.
            'd' if is_in_class => self.out.push_str("0-9"),
            'w' if is_in_class => self.out.push_str("0-9A-Za-z_"),
            's' if is_in_class => self.out.push_str("\\t\\n\\x0C\\r "),
            'd' => self.out.push_str("[0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            's' => self.out.push_str("[\\t\\n\\x0C\\r ]"),
            'D' => self.out.push_str("[^0-9]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            'S' => self.out.push_str("[^\\t\\n\\x0C\\r ]"),
            'b' | 'B' | 'A' | 'z' if !is_in_class => {
                if matches!(c, 'b' | 'B') && self.rest.peek() == Some(&'{') {
                    return Err(format!("\\{c}{{ is not known"));
                }
                self.out.push('\\');
                self.out.push(c);
            }
            'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' | 'p' | 'P' => {
                self.out.push('\\');
                self.out.push(c);
                // The braces of \x{10ffff} and \p{Greek} are no repetition.
                if matches!(c, 'x' | 'p' | 'P') && self.rest.peek() == Some(&'{') {
                    for c in self.rest.by_ref() {
                        self.out.push(c);
                        if c == '}' {
                            break;
                        }
                    }
                }
            }
            // Up to three octal digits, as long as the first is 0.
            '0' => {
                let mut code = 0;
                for _ in 0..2 {
                    let Some(digit) = self.rest.next_if(|c| ('0'..='7').contains(c)) else {
                        break;
                    };
                    code = code * 8 + digit.to_digit(8).unwrap_or_default();
                }
                self.out.push_str(&format!("\\x{{{code:x}}}"));
            }
            _ if c.is_ascii_alphanumeric() => return Err(format!("\\{c} is not known")),
            _ if c.is_ascii_punctuation() => self.literal(c),
            _ => self.out.push(c),
        }
        Ok(())
    }

    /// `\Q` up to `\E` or the end stands for itself.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(c);
        }
    }

    fn literal(&mut self, c: char) {
        // An escaped < or > is a word boundary to the crate, and needs no escape.
        if c.is_ascii_punctuation() && c != '<' && c != '>' {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// A class after its `[`. Only `[:name:]` nests in RE2, and there are no set operations.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        while let Some(c) = self.rest.next() {
            match c {
                ']' if !is_first => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' if self.rest.peek() == Some(&':') => self.posix_class()?,
                '\\' => {
                    let Some(c) = self.rest.next() else {
                        return Err("it ends in a backslash".to_owned());
                    };
                    self.shared_escape(c, true)?;
                }
                // These start set operations in the crate, or nest.
                '[' | ']' | '&' | '~' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                // A dash at either end is a character; a doubled one would be a set operation.
                '-' if is_first || self.rest.peek() == Some(&']') => self.out.push_str("\\-"),
                _ => self.out.push(c),
            }
            is_first = false;
        }
        Err("a '[' is not closed".to_owned())
    }

    /// `[:alpha:]` after its `[`, inside a class.
    fn posix_class(&mut self) -> Result<(), String> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let text: String = self.rest.by_ref().take_while(|c| *c != ']').collect();
        let name = text.trim_matches(':');
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) || !text.ends_with(':') {
            return Err(format!("[{text}] is not a class"));
        }
        self.out.push('[');
        self.out.push_str(&text);
        self.out.push(']');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_re2_takes_passes() {
        for pattern in [
            "^/api/v[0-9]+$",
            ".*",
            "",
            "/users/{id}",
            "a{2}b{2,}c{2,5}d{2}?",
            "a{,3}",
            "(?i)abc(?:d|e)(?P<n>f)(?<m>g)(?i-s:h)",
            r"\d\D\w\W\s\S\b\B\A\z\pN\p{Greek}\P{L}\x{10FFFF}\x41\a\f\n\r\t\v",
            r"[\d\w\s\D.-]",
            "[]a][^]a][a-z-][-a]",
            "[[:alpha:][:^digit:]]",
            "[[a][a&&b~~c]",
            r"\Qa.b{c\E+",
            r"\Qto the end",
            r"\.\/\-\_\<\>\]\}\:\@\ ",
            r"\012\0",
            "a}b]c",
            "a*?b+?c??",
            "(a*)*",
            "(?U)a+",
            "ж+",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            "(",
            ")",
            "[",
            "a)",
            "[z-a]",
            "*",
            "+a",
            "?",
            "a**",
            "a+*",
            "a{2}{3}",
            "a{2}*",
            "a{1001}",
            "a{1,1001}",
            "a{3,2}",
            r"\",
            r"[\",
            r"\1",
            r"\8",
            r"\Z",
            r"\u0041",
            r"\h",
            r"\k<n>",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            "(?x)a b",
            "(?>a)",
            "(?P=n)",
            r"\p{Nope}",
            r"[\b]",
            "[[:nope:]]",
            "(?P<n>a)(?P<n>b)",
            "((a{100}){100}){100}",
            r"\b{start}",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        assert_eq!(check("a("), Err("unclosed group".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in r"[\\\[\]{}()*+?^$|.,:<>PQEabdwpx0-9-]{0,20}") {
            let _ = check(&pattern);
        }
    }
}
