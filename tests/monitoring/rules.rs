//! The rules in their file, read as far as they are written: a list of rules, each with `alert:` or `record:` first.

use crate::expression::Expression;

/// A rule.
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) is_alert: bool,
    pub(crate) expression: Expression,
    /// Its scalars, by their keys.
    fields: Vec<(String, String)>,
}

impl Rule {
    pub(crate) fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }
}

/// The rules of a file.
pub(crate) fn read(text: &str) -> Vec<Rule> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let is_start = |line: &&str| line.contains("- alert: ") || line.contains("- record: ");
    let starts: Vec<usize> = (0..lines.len()).filter(|at| is_start(&lines[*at])).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    starts.iter().zip(ends).map(|(start, end)| rule_of(&lines[*start..end])).collect()
}

fn rule_of(lines: &[&str]) -> Rule {
    let fields = fields_of(lines);
    let value = |key: &str| fields.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone());
    let is_alert = value("alert").is_some();
    let name = value("alert").or_else(|| value("record")).expect("a name");
    let expression = Expression::of(&value("expr").unwrap_or_else(|| panic!("{name} has no expression")));
    Rule { name, is_alert, expression, fields }
}

/// `key: value`, where the value may be a block of deeper lines.
fn fields_of(lines: &[&str]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = indent_of(line);
        let Some((key, value)) = line.trim_start().trim_start_matches("- ").split_once(": ") else { continue };
        let value = match value {
            "|" | ">-" => {
                let block = lines[at + 1..].iter().take_while(|line| indent_of(line) > indent);
                block.map(|line| line.trim()).collect::<Vec<_>>().join(" ")
            }
            value => value.to_owned(),
        };
        fields.push((key.to_owned(), value));
    }
    fields
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
