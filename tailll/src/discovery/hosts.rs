//! Hosts that are written down: an ad-hoc target, or an inventory of the configuration. They never change.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DiscoveryEvent, Outbox, Stopped};
use crate::as_role::Become;
use crate::instance::{Files, Instance, InstanceId, Login, Place};
use crate::source::InstanceLabel;

/// Hosts and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// What they are called: the inventory's name, or the hosts as typed.
    pub name: String,
    /// Where to log in.
    pub logins: Vec<Login>,
    /// Absolute shell patterns of the files.
    pub globs: Vec<String>,
    /// The command that runs the scripts as another user.
    pub as_role: Option<Become>,
}

impl Hosts {
    /// One instance a host. A host that is reached in several ways is named by them, since its name alone would not tell.
    pub fn instances(&self) -> Vec<Instance> {
        let mut ways: HashMap<&str, usize> = HashMap::new();
        for login in &self.logins {
            *ways.entry(&login.host).or_default() += 1;
        }
        let instance = |login: &Login| Instance {
            id: InstanceId(format!("{login}:{}", self.globs.join(","))),
            label: Arc::new(InstanceLabel {
                job: self.name.clone(),
                key: None,
                instance: None,
                host: match ways.get(login.host.as_str()) {
                    Some(1) => login.host.clone(),
                    _ => login.to_string(),
                },
                task_id: None,
            }),
            place: Place::Ssh(login.clone()),
            files: Files::Globs(self.globs.clone()),
            as_role: self.as_role.clone(),
        };
        self.logins.iter().map(instance).collect()
    }

    pub(super) async fn tell(self, outbox: &Outbox) -> Result<(), Stopped> {
        let instances = self.instances();
        let count = instances.len();
        for instance in instances {
            outbox.send(DiscoveryEvent::Added(instance)).await?;
        }
        outbox
            .send(DiscoveryEvent::Complete {
                source: self.name,
                instances: count,
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::super::tests::Watched;
    use super::*;
    use crate::target;

    fn hosts(text: &str) -> Hosts {
        Hosts {
            name: text.to_owned(),
            logins: target::parse_logins(text).expect(text),
            globs: vec!["/x/*.log".to_owned()],
            as_role: None,
        }
    }

    #[tokio::test]
    async fn each_host_is_an_instance() {
        let mut watched = Watched::start(vec![Source::Hosts(hosts("me@web[1-2]"))]);
        let lines = watched.some(4).await;
        assert_eq!(
            lines,
            [
                "+ me@web[1-2]@web1",
                "+ me@web[1-2]@web2",
                "complete me@web[1-2]: 2",
                "closed"
            ]
        );
        watched.stop().await;
    }

    #[test]
    fn ways_to_one_host_are_told_apart() {
        let instances = hosts("h:1,h:2,g:1").instances();
        let names: Vec<&str> = instances
            .iter()
            .map(|instance| instance.label.host.as_str())
            .collect();
        assert_eq!(names, ["h:1", "h:2", "g"]);
        assert_eq!(instances[0].id.0, "h:1:/x/*.log");
    }
}
