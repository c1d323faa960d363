//! The JSON Schema of the configuration file (draft 2020-12), made from the settings table, for
//! editors that complete and check TOML.

use super::table::SETTINGS;
use super::tables::{TABLES, TableKey};
use super::value::Type;
use serde_json::{Map, Value, json};

/// The schema of the whole file.
pub(crate) fn schema() -> Value {
    let mut root = object("Settings of tidegauge");
    for setting in SETTINGS {
        let mut property = of_type(setting.kind, setting.help);
        if let Some(default) = setting.default {
            property["default"] = match setting.kind {
                Type::Count => json!(default.parse::<u64>().unwrap_or_default()),
                Type::Flag => json!(default == "true"),
                _ => json!(default),
            };
        }
        put(&mut root, setting.key, property);
    }
    for table in TABLES {
        let mut item = object(&format!("One of these is {}.", table.what));
        for TableKey { key, kind, help } in (table.keys)() {
            put(&mut item, key, of_type(kind, help));
        }
        item["required"] = json!(table.required);
        put(
            &mut root,
            table.key,
            json!({"type": "array", "items": item}),
        );
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root
}

fn object(title: &str) -> Value {
    json!({"title": title, "type": "object", "properties": {}, "additionalProperties": false})
}

/// Puts a property where its key, `section.section.name`, belongs.
fn put(root: &mut Value, key: &str, property: Value) {
    let mut at = root;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let properties = at["properties"].as_object_mut().expect("it is an object");
        if parts.peek().is_none() {
            properties.insert(part.to_owned(), property);
            return;
        }
        at = properties
            .entry(part)
            .or_insert_with(|| object(&format!("[{part}]")));
    }
}

fn of_type(kind: Type, help: &str) -> Value {
    let text = || json!({"type": "string", "minLength": 1});
    let many = || json!({"anyOf": [text(), {"type": "array", "items": text()}]});
    let mut made = match kind {
        Type::Text | Type::Path | Type::Levels => text(),
        Type::Secret => json!({"type": "string", "minLength": 1, "writeOnly": true}),
        Type::Count => json!({"type": "integer", "minimum": 1}),
        Type::Percent => json!({"type": "integer", "minimum": 0, "maximum": 100}),
        Type::Duration => json!({"type": "string", "pattern": "^[0-9.]+ *(ms|s|m|h|d)$"}),
        Type::Bytes => json!({"anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": "^[0-9.]+ *(B|kB|MB|GB|KiB|MiB|GiB)?$"},
        ]}),
        Type::Flag => json!({"type": "boolean"}),
        Type::List | Type::Urls => many(),
        // Names with dots that have no quotes are tables in tables.
        Type::Pairs => json!({"type": "object"}),
        Type::Address => json!({"type": "string", "pattern": ":[0-9]+$"}),
        Type::Choice(words) => json!({"enum": words}),
    };
    let described: &mut Map<_, _> = made.as_object_mut().expect("it is an object");
    described.insert("description".to_owned(), json!(help));
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_where_its_key_says() {
        let schema = schema();
        for setting in SETTINGS {
            let pointer = setting.key.replace('.', "/properties/");
            let property = schema
                .pointer(&format!("/properties/{pointer}"))
                .expect(setting.key);
            assert_eq!(property["description"], setting.help, "{}", setting.key);
        }
        assert_eq!(
            schema["properties"]["kafka"]["properties"]["topic"]["default"],
            "tidegauge"
        );
        assert_eq!(
            schema["properties"]["sink"]["properties"]["step_points"]["default"],
            25_000
        );
        let checks = &schema["properties"]["agent"]["properties"]["checks"];
        assert_eq!(checks["items"]["required"], json!(["url"]));
        assert_eq!(checks["items"]["properties"]["attempts"]["type"], "integer");
        assert_eq!(schema["properties"]["kafka"]["additionalProperties"], false);
    }
}
