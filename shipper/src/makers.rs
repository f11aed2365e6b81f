//! A row maker for each rule of the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::ids::{IdError, IdFinder, IdKeys, IdRules};
use crate::redact::{RedactError, RedactionRule, Redactor};
use crate::rows::{AgeRule, LineRules, RowMaker};
use crate::rules::Rules;

/// Row makers by the name of the rule that took the file.
#[derive(Debug)]
pub struct Makers {
    rules: Arc<Rules>,
    ids: IdFinder,
    redactor: Redactor,
    age: AgeRule,
    by_rule: HashMap<String, RowMaker>,
}

/// What of the configuration cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum MakersError {
    /// `[ids]`.
    #[error("[ids]")]
    Ids(#[from] IdError),
    /// `[[redact]]`.
    #[error("[[redact]]")]
    Redact(#[from] RedactError),
}

impl Makers {
    /// Makers by these rules. Nothing of a line is read yet.
    pub fn new(rules: Arc<Rules>, age: AgeRule) -> Result<Self, MakersError> {
        let config = rules.config();
        Ok(Self {
            ids: IdFinder::new(&id_rules(config))?,
            redactor: Redactor::new(&redaction_rules(config))?,
            rules,
            age,
            by_rule: HashMap::new(),
        })
    }

    /// The maker for files that this rule took. A rule that there is no longer reads times as UTC.
    pub fn of(&mut self, rule: &str) -> &mut RowMaker {
        if !self.by_rule.contains_key(rule) {
            let maker = RowMaker::new(Arc::new(LineRules {
                zone: self.rules.timezone(rule),
                max_line_bytes: self.rules.config().max_line_bytes,
                age: self.age,
                ids: self.ids.clone(),
                redactor: self.redactor.clone(),
            }));
            self.by_rule.insert(rule.to_owned(), maker);
        }
        self.by_rule.get_mut(rule).expect("it was put there")
    }

    /// How many places each redaction rule masked since the last call, in the order of the rules.
    pub fn take_redacted(&mut self) -> Vec<u64> {
        let mut sums = vec![0; self.redactor.names().count()];
        for maker in self.by_rule.values_mut() {
            for (sum, count) in sums.iter_mut().zip(maker.take_redacted()) {
                *sum += count;
            }
        }
        sums
    }

    /// How many rows got another time than their line says since the last call.
    pub fn take_substituted(&mut self) -> u64 {
        let makers = self.by_rule.values_mut();
        makers.map(RowMaker::take_substituted).sum()
    }
}

fn id_rules(config: &Config) -> IdRules {
    let keys = |names: &[String], patterns: &[String]| IdKeys {
        names: names.to_vec(),
        patterns: patterns.to_vec(),
    };
    IdRules {
        request: keys(&config.ids.request_names, &config.ids.request_patterns),
        trace: keys(&config.ids.trace_names, &config.ids.trace_patterns),
    }
}

fn redaction_rules(config: &Config) -> Vec<RedactionRule> {
    let rules = config.redact.iter().map(|rule| RedactionRule {
        name: rule.name.clone(),
        pattern: rule.pattern.clone(),
        mask: rule.mask.clone(),
    });
    rules.collect()
}
