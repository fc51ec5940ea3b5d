//! The page of tables: types and purposes from the source, sizes from the object.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use aya_obj::{Map, Object};

/// Bytes that the kernel adds to an element of a hash (`struct htab_elem`).
const HASH_ELEMENT: u64 = 48;

/// Bytes of a bucket of a hash (`struct bucket`); there are as many as elements, rounded up.
const HASH_BUCKET: u64 = 16;

/// A map as the source declares it.
#[derive(Debug, PartialEq, Eq)]
struct Declared {
    name: String,
    kind: String,
    key: String,
    value: String,
    purpose: String,
}

/// The page.
pub(super) fn page(source: &str, object: &[u8]) -> Result<String> {
    let object = Object::parse(object).context("read the BPF object")?;
    let declared = declarations(source)?;
    let mut text = String::from(
        "# Tables\n\nDrawn from `canary-ebpf/src/maps.rs` and the BPF object by `cargo xtask docs`.\n\n\
         Entries are the defaults; `limits` in the agent's settings changes most of them, and flow\n\
         tables are sized by the machine's memory. Bytes are those of one entry with what the kernel\n\
         adds to it. `canaryctl maps` tells what the tables of a node take.\n\n\
         | table | kind | key | value | entries | bytes each | purpose |\n\
         |---|---|---|---|---:|---:|---|\n",
    );
    for Declared { name, kind, key, value, purpose } in &declared {
        let map = object.maps.get(name).with_context(|| format!("the object has no map {name}"))?;
        let entries = map.max_entries();
        writeln!(
            text,
            "| `{name}` | {kind} | {} | {} | {entries} | {} | {purpose} |",
            sized(key, map.key_size()),
            sized(value, map.value_size()),
            each(kind, map),
        )?;
    }
    // The compiler adds maps of its own, all of whose names start with a dot; aya-log adds one.
    let is_other = |name: &&String| name.starts_with('.') || *name == "AYA_LOGS";
    let mut unknown = object.maps.keys().filter(|name| !is_other(name));
    let is_declared = |name: &String| declared.iter().any(|map| map.name == *name);
    let stray = unknown.find(|name| !is_declared(name));
    ensure!(stray.is_none(), "the source does not declare {stray:?}");
    Ok(text)
}

/// A type and its size, such as `` `Flow` (16) ``.
fn sized(name: &str, bytes: u32) -> String {
    if bytes == 0 { "-".to_owned() } else { format!("`{name}` ({bytes})") }
}

/// Bytes that an entry takes.
fn each(kind: &str, map: &Map) -> String {
    let rounded = |bytes: u32| u64::from(bytes).next_multiple_of(8);
    let (key, value) = (rounded(map.key_size()), rounded(map.value_size()));
    match kind {
        "array of maps" => "8".to_owned(),
        // Its size is one of bytes.
        "ring" => "1".to_owned(),
        "per-CPU array" => format!("{value} a CPU"),
        "hash" | "LRU hash" => (HASH_ELEMENT + HASH_BUCKET + key + value).to_string(),
        // The kernel rounds rows of an array up to words.
        _ => value.to_string(),
    }
}

/// The maps that the source declares, in its order.
fn declarations(source: &str) -> Result<Vec<Declared>> {
    let mut found = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    let mut marked = false;
    for line in source.lines() {
        if let Some(words) = line.strip_prefix("///") {
            doc.push(words.trim());
        } else if line == "#[map]" || line == "#[btf_map]" {
            marked = true;
        } else {
            if marked {
                found.push(declaration(line, doc.join(" ")).with_context(|| line.to_owned())?);
            }
            doc.clear();
            marked = false;
        }
    }
    ensure!(!found.is_empty(), "no map is declared");
    Ok(found)
}

/// Reads `static NAME: Kind<Key, Value>`.
fn declaration(line: &str, purpose: String) -> Result<Declared> {
    let rest = line.strip_prefix("static ").context("not a static")?;
    let (name, rest) = rest.split_once(": ").context("no type")?;
    ensure!(!purpose.is_empty(), "{name} says not what it is for");
    if rest.starts_with("RingBuf =") {
        let [key, value] = [String::new(), String::new()];
        return Ok(Declared {
            name: name.to_owned(),
            kind: "ring".to_owned(),
            key,
            value,
            purpose,
        });
    }
    let (kind, rest) = rest.split_once('<').context("a type without parameters")?;
    let (parameters, _) = rest.split_once("> =").context("the type does not end in its line")?;
    let of_array = |kind: &str| (kind.to_owned(), "u32".to_owned(), parameters.to_owned());
    let of_hash = |kind: &str| -> Result<_> {
        let (key, value) = parameters.split_once(", ").context("a hash without a value")?;
        Ok((kind.to_owned(), key.to_owned(), value.to_owned()))
    };
    let (kind, key, value) = match kind {
        "Array" => of_array("array"),
        "PerCpuArray" => of_array("per-CPU array"),
        "ArrayOfMaps" => ("array of maps".to_owned(), "u32".to_owned(), "map".to_owned()),
        // The kernel takes the socket's descriptor for the key.
        "SkStorage" => ("socket storage".to_owned(), "i32".to_owned(), parameters.to_owned()),
        "HashMap" => of_hash("hash")?,
        "LruHashMap" => of_hash("LRU hash")?,
        other => anyhow::bail!("{other} is not known"),
    };
    Ok(Declared { name: name.to_owned(), kind, key, value, purpose })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_with_their_words() {
        let source = "/// The second since which\n/// we are attached.\n#[map]\n\
                      static INTERFACES: HashMap<u32, [u32; 2]> = HashMap::pinned(1, 0);\n\
                      /// Not a map.\nconst X: u32 = 1;\n\
                      /// Flows.\n#[map]\nstatic FLOWS: LruHashMap<Key, Flow> =\n    x();\n\
                      /// News.\n#[map]\nstatic EVENTS: RingBuf = y();\n\
                      /// Picks.\n#[btf_map]\nstatic PICKS: SkStorage<[u64; 8]> = SkStorage::new();\n";

        let found = declarations(source).unwrap();

        let line = |map: &Declared| {
            [&map.name, &map.kind, &map.key, &map.value, &map.purpose].map(String::clone).join("|")
        };
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [
                "INTERFACES|hash|u32|[u32; 2]|The second since which we are attached.",
                "FLOWS|LRU hash|Key|Flow|Flows.",
                "EVENTS|ring|||News.",
                "PICKS|socket storage|i32|[u64; 8]|Picks."
            ]
        );
        assert!(declarations("#[map]\nstatic X: Array<u32> = y();\n").is_err());
    }
}
