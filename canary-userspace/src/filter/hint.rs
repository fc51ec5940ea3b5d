//! What helps with a filter that is no expression: Consul's words say where, not what to write.

/// What to write instead at byte `at` of `text`, where that can be told.
pub(super) fn of(text: &str, at: usize) -> Option<String> {
    // At the end something is missing, and nothing is wrong with what is there.
    let (before, word, behind) = around(text, at).filter(|_| at < text.len())?;
    if let Some(instead) = operator(word) {
        return Some(instead);
    }
    if is_value(before, behind) {
        let value = word.trim_matches('\'');
        let plain = !value.is_empty() && !value.contains(['"', '`', '\\', '[']);
        return plain.then(|| format!("quote the value: {value:?}"));
    }
    if let Some((map, key)) = word.split_once('[') {
        let key = key.trim_end_matches(']');
        if key.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(format!("elements have no numbers; ask for one with `X in {map}`"));
        }
        let plain = key.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"`'[]".contains(&byte));
        return plain.then(|| format!("quote the key: {map}[{key:?}]"));
    }
    // A key that is no word.
    let start: usize =
        word.split('.').take_while(|part| is_word(part)).map(|part| part.len() + 1).sum();
    let (map, key) = (word.get(..start.checked_sub(1)?)?, word.get(start..)?);
    let plain = !key.is_empty() && !key.contains(['"', '`', '\\', '\'']);
    plain.then(|| format!("quote the key: {map}[{key:?}]"))
}

/// The word at `at`, with what is before and behind it.
fn around(text: &str, at: usize) -> Option<(&str, &str, &str)> {
    let (before, behind) = text.split_at_checked(at)?;
    let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')');
    // A sign without blanks around it belongs to no word.
    let start = before.rfind(|c| ends(c) || c == '=').map_or(0, |at| at.saturating_add(1));
    let end = behind.find(ends).unwrap_or(behind.len()).saturating_add(at);
    Some((text.get(..start)?, text.get(start..end)?, text.get(end..)?))
}

/// What stands here for an operator of other languages.
fn operator(word: &str) -> Option<String> {
    let instead = match word {
        "&&" | "&" => "and",
        "||" | "|" => "or",
        "=" | "===" => "==",
        "=~" => "matches",
        "<>" => "!=",
        "and" | "or" => return Some(format!("`{word}` needs a blank on both sides")),
        _ if word.starts_with('!') => "not",
        _ if word.starts_with(['<', '>']) => {
            return Some("numbers have no order here: only `==` and `!=`".to_owned());
        }
        _ => {
            let lower = word.to_ascii_lowercase();
            let keywords = ["and", "or", "not", "in", "is", "empty", "contains", "matches"];
            let keyword = keywords.into_iter().find(|keyword| *keyword == lower)?;
            if keyword == word {
                return None;
            }
            keyword
        }
    };
    Some(format!("write `{instead}`"))
}

/// Whether what stands between these is compared with something.
fn is_value(before: &str, behind: &str) -> bool {
    let before = before.trim_end();
    let behind = behind.trim_start();
    before.ends_with("==")
        || before.ends_with("!=")
        || before.ends_with(" contains")
        || before.ends_with(" matches")
        || behind.starts_with("in ")
        || behind.starts_with("not in ")
}

fn is_word(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_alphabetic())
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
