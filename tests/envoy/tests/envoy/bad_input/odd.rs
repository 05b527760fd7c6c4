//! Routes of odd texts and numbers, of which the model's JSON can hold every one.

use serde_json::{Value, json};

/// Texts that have a meaning somewhere, or look as if they had.
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "", " ", "\t", "\0", "\r", "\n", "\u{1}", "\u{7f}", "\u{80}", "é", "日本", "😀", "a", "a b",
    "a:b", "a,b", "a;b", "a=b", "a_b", "-a", "a-", "\"", "'", "\\", "\\0", "\\1", "\\9", "a\\",
    "\\\\", "$1", "/", "//", "/a", "/a/", "?", "#", "/a?b", "/a#b", "*", "*.a", "a.*", "*.a.b",
    "a.b.c", "A.com", "1.2.3.4", "[::1]", "a:80", "x.y.", "..", "a..b", "{", "}", "(", ")", "[",
    "]", "<", ">", "@", "~", "`", "^", "|",
    "host", "Host", ":authority", ":path", ":a", "x-a", "X-A", "content-length", "connection",
    "transfer-encoding", "te", "grpc-timeout", "x-envoy-upstream-rq-timeout-ms",
    "http", "https", "HTTP", "h t", "://",
    "%", "%%", "%%%", "%REQ(x)%", "%REQ(", "%REQ()%", "%REQ(a?b?c)%", "%REQ(:path)%", "%REQ(é)%",
    "%REQ(x):5%", "%REQ(x):99999999999999999999%", "%req(x)%", "%BAD%", "%PROTOCOL%",
    "%PROTOCOL(x)%", "%START_TIME(%)%", "%START_TIME(%s.%3f)%", "%START_TIME(%Q)%", "%HOSTNAME%",
    "%DYNAMIC_METADATA(a:b)%", "%DYNAMIC_METADATA()%", "%FILTER_STATE(x)%", "%FILTER_STATE(x:y)%",
    "%FILTER_STATE(x:FIELD:)%", "%METADATA(ROUTE:a:b)%", "%METADATA(X)%", "%CEL(request.path)%",
    "%CEL(a.)%", "%CEL(in)%", "%CEL(true)%", "%CEL(x.in)%", "%ENVIRONMENT(X)%", "%PATH(WQ:ORIG)%",
    "%PATH(X)%", "%GRPC_STATUS(X)%", "%UPSTREAM_METADATA([\"a\", \"b\"])%", "%TRACE_ID%",
    "%PER_REQUEST_STATE(a)%", "%COMMON_DURATION(a:b)%", "%COMMON_DURATION(a:b:s)%", "%DURATION%",
    "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:ms)%", "%QUERY_PARAM(a)%", "%RESPONSE_CODE_DETAILS(x)%",
    ".*", "\\d+", "(a|b)*", "a{1000}", "a{1001}", "a{2}{3}", "a{,3}", "a{3,2}", "a{2,}", "x**",
    "x*+", "x+?", "(?i)A", "(?i", "(?z)", "(?i-s:a)", "(?-)", "(?)", "(?U)a", "(?#c)", "(?=a)",
    "(?P<n>a)", "(?P<n>a)(?P<n>b)", "(?<n>a)", "(?P=n)", "(?P<1>a)", "(?P<é>a)", "\\pL", "\\p{Greek}",
    "\\p{Foo}", "\\P{^Greek}", "\\pN{3}", "\\p{Lu}", "\\p{L", "[[:alpha:]]", "[[:foo:]]",
    "[[:^alpha:]]", "[a-", "[z-a]", "[a-z-9]", "[\\d-z]", "[a-\\d]", "[]", "[^]", "[]]", "[\\]]",
    "[\\Qa\\E]", "[^\\n]", "[é-ü]", "[\\pL]", "[\\b]", "[\\Q]", "[&&]", "[a--b]", "\\Q", "\\E",
    "\\Qa", "\\Qa\\E*", "\\x{10FFFF}", "\\x{110000}", "\\x{d800}", "\\x", "\\x{}", "\\xZZ", "\\xff",
    "\\8", "\\07", "\\777", "\\cA", "\\e", "\\A", "\\z", "\\Z", "\\G", "\\b", "\\B", "^$", "^*",
    "$*", "\\b*", "\\b+", "(^)*", "a||b", "|*", "()", "()*", "(?:)", "\\C", "\\X", "\\R", "\\N",
    "\\h", "\\K", "\\v", "\\f", "\\a", "\\t", "\\_", "\\ ", "\\é", "(*UTF8)", "(?>a)", "(?<=a)",
    "\\u1234", "(a{30}){30}", "(a{30}){40}", "((a{9}){9}){13}", "(((a{10}){10}){10}){2}",
    "(a*){1000}", "(a{0}){2000}", "(?:a{1000}){0}",
];

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    /// Below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % sides as u64).expect("below a usize")
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())].clone()
    }

    fn some(&mut self, most: usize, make: impl Fn(&mut Self) -> Value) -> Value {
        (0..self.roll(most + 1)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> String {
        match self.roll(20) {
            0..13 => self.of(TEXTS).to_owned(),
            13..17 => format!("{}{}", self.of(TEXTS), self.of(TEXTS)),
            17 => self.of(TEXTS).repeat(self.of(&[2, 100, 20_000])),
            _ => (0..self.roll(8))
                .map(|_| {
                    let most = self.of(&[0x80, 0x250, 0x1_1000]);
                    u32::try_from(self.roll(most))
                        .ok()
                        .and_then(char::from_u32)
                        .unwrap_or('\u{fffd}')
                })
                .collect(),
        }
    }

    fn number(&mut self) -> u32 {
        self.of(&[0, 1, 2, 80, 100, 65_535, 65_536, 1 << 31, u32::MAX])
    }

    fn matching(&mut self) -> Value {
        let mut matching = json!({});
        if self.roll(5) > 0 {
            let value = format!("{}{}", self.of(&["/", "/", ""]), self.text());
            matching["path"] =
                json!({"match": self.of(&["EXACT", "PREFIX", "REGEX"]), "value": value});
        }
        if self.roll(3) == 0 {
            matching["method"] = json!(self.of(&["GET", "CONNECT", "NONE"]));
        }
        if self.roll(3) == 0 {
            matching["headers"] = self.some(2, |dice| {
                let kind = dice.of(&["EXACT", "REGEX", "ABSENT", "PRESENT"]);
                json!({"match": kind, "name": dice.text(), "value": dice.text()})
            });
        }
        if self.roll(3) == 0 {
            matching["query_parameters"] = self.some(2, |dice| {
                let kind = dice.of(&["EXACT", "REGEX"]);
                json!({"match": kind, "name": dice.text(), "value": dice.text()})
            });
        }
        matching
    }

    fn headers(&mut self) -> Value {
        let header = |dice: &mut Self| json!({"name": dice.text(), "value": dice.text()});
        json!({
            "set": self.some(2, header),
            "add": self.some(2, header),
            "remove": self.some(2, |dice| json!(dice.text())),
        })
    }

    fn path(&mut self) -> Value {
        let field = self.of(&["replaceFull", "replacePrefixMatch"]);
        json!({field: self.text()})
    }

    fn filter(&mut self) -> Value {
        match self.roll(5) {
            0 => json!({"request_header": self.headers()}),
            1 => json!({"response_header": self.headers()}),
            2 => {
                let percentage = self.of(&[0.0, 0.000_01, 1.0, 50.5, 100.0, 200.0, -1.0, 1e300]);
                json!({"mirror": {"percentage": percentage, "backend": self.backend()}})
            }
            3 => {
                let mut redirect = json!({
                    "scheme": self.text(),
                    "hostname": self.text(),
                    "port": self.number(),
                    "status_code": self.of(&[0, 200, 300, 301, 302, 303, 304, 307, 308, 999]),
                });
                if self.roll(2) == 0 {
                    redirect["path"] = self.path();
                }
                json!({"redirect": redirect})
            }
            _ => {
                let mut rewrite = self.path();
                rewrite["host_to_backend_hostname"] = json!(self.roll(3) == 0);
                json!({"rewrite": rewrite})
            }
        }
    }

    fn backend(&mut self) -> Value {
        let mut destination = json!({});
        let service = if self.roll(2) == 0 {
            "cart".to_owned()
        } else {
            self.text()
        };
        destination["kuma.io/service"] = json!(service);
        if self.roll(4) == 0 {
            destination[self.text()] = json!(self.text());
        }
        json!({"weight": self.number(), "destination": destination})
    }

    fn rule(&mut self) -> Value {
        json!({
            "matches": self.some(3, Self::matching),
            "filters": self.some(2, Self::filter),
            "backends": self.some(2, Self::backend),
        })
    }
}

/// So many of them.
pub(super) fn routes(seed: u64, count: usize) -> Vec<Value> {
    let mut dice = Dice(seed);
    (0..count)
        .map(|n| {
            let rules = dice.some(2, Dice::rule);
            let mut route = super::route(&format!("r-{n}"), &rules);
            route["conf"]["http"]["hostnames"] = dice.some(2, |dice| json!(dice.text()));
            route
        })
        .collect()
}
