//! As much of JSON Schema (draft 2020-12) as the published schemas use; any other keyword is a
//! panic, so that nothing passes unread.

use serde_json::Value;

/// What of `value` is not as `schema` says, with its path.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Validator { root: schema }.check(schema, value, "$", &mut found);
    found
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        let Value::Object(keywords) = schema else {
            assert_eq!(schema, &Value::Bool(true), "a schema at {path}");
            return;
        };
        for (keyword, says) in keywords {
            let holds = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
                "$ref" => {
                    let pointer =
                        says.as_str().and_then(|it| it.strip_prefix('#')).expect("a local reference");
                    let target = self.root.pointer(pointer).expect("what it refers to");
                    self.check(target, value, path, found);
                    true
                }
                "type" => match says {
                    Value::Array(types) => types.iter().any(|it| is_of(it, value)),
                    one => is_of(one, value),
                },
                "enum" => says.as_array().expect("values").contains(value),
                "const" => says == value,
                "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().expect("a number")),
                "maximum" => value.as_f64().is_none_or(|number| number <= says.as_f64().expect("a number")),
                "minItems" => {
                    value.as_array().is_none_or(|it| it.len() as u64 >= says.as_u64().expect("a number"))
                }
                "maxItems" => {
                    value.as_array().is_none_or(|it| it.len() as u64 <= says.as_u64().expect("a number"))
                }
                "required" => {
                    let names = says.as_array().expect("names").iter().filter_map(Value::as_str);
                    value
                        .as_object()
                        .is_none_or(|object| names.into_iter().all(|name| object.contains_key(name)))
                }
                "properties" => {
                    for (name, schema) in says.as_object().expect("properties") {
                        if let Some(member) = value.get(name) {
                            self.check(schema, member, &format!("{path}.{name}"), found);
                        }
                    }
                    true
                }
                "additionalProperties" => self.others(keywords, says, value, path, found),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(says, item, &format!("{path}[{index}]"), found);
                    }
                    true
                }
                "anyOf" | "oneOf" => says.as_array().expect("schemas").iter().any(|schema| {
                    let mut inner = Vec::new();
                    self.check(schema, value, path, &mut inner);
                    inner.is_empty()
                }),
                other => panic!("the keyword {other} at {path}"),
            };
            if !holds {
                found.push(format!("{path}: {keyword} {says}, not {value}"));
            }
        }
    }

    /// The members of an object that `properties` does not name.
    fn others(
        &self,
        keywords: &serde_json::Map<String, Value>,
        schema: &Value,
        value: &Value,
        path: &str,
        found: &mut Vec<String>,
    ) -> bool {
        let named = |name: &String| keywords.get("properties").is_some_and(|it| it.get(name).is_some());
        let members = value.as_object().into_iter().flatten();
        for (name, member) in members.filter(|(name, _)| !named(name)) {
            if *schema == Value::Bool(false) {
                return false;
            }
            self.check(schema, member, &format!("{path}.{name}"), found);
        }
        true
    }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other}"),
    }
}
