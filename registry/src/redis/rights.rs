//! Whether the user of the configured URL may do all that Muster does. Tried over a connection of its own, so that what
//! would keep out a newcomer, e.g. a worker that is about to start, is known before.

use std::collections::BTreeSet;

use muster_domain::{AgentId, ProcessId};
use redis::{RedisError, RedisResult, cmd};

use super::command_connection::{dial, within};
use super::{RedisRegistry, refusal, scripts};
use crate::RegistryError;

/// Every command that Muster gives, as rules of an ACL.
pub(super) const COMMANDS: &str = "+ping +select +eval +evalsha +script|load +time +type +scan +sscan +zscan +del +expire +set +get +mget +hset +hget +hmget +hdel +hexists \
                        +sadd +srem +smembers +zadd +zrem +xadd +xdel +xread +publish +subscribe +unsubscribe";

/// What was refused.
#[derive(Debug, Default)]
struct Refused {
    commands: BTreeSet<String>,
    /// Not there at all.
    unknown: BTreeSet<String>,
    keys: BTreeSet<String>,
    channels: BTreeSet<String>,
    /// Something else than a right: there is no memory left, or the like.
    other: Option<String>,
}

impl RedisRegistry {
    /// Tries everything once, and leaves nothing.
    pub(super) async fn try_rights(&self) -> Result<(), RegistryError> {
        let limit = self.shared.options.timeout;
        let mut refused = Refused::default();
        within(limit, self.try_keys(&mut refused)).await?;
        within(limit, self.try_channels(&mut refused)).await?;
        match (refused.other.take(), refused.is_empty()) {
            (Some(other), _) => Err(RegistryError::Refused(other)),
            (None, true) => Ok(()),
            (None, false) => Err(RegistryError::Refused(self.describe(&refused))),
        }
    }

    async fn try_keys(&self, refused: &mut Refused) -> RedisResult<()> {
        let mut connection = dial(&self.shared.client).await?;
        refused.note("PING", cmd("PING").exec_async(&mut connection).await)?;
        refused.note("SCAN", cmd("SCAN").arg(0).arg("COUNT").arg(1).exec_async(&mut connection).await)?;
        let (keys, worker) = (self.keys(), ProcessId::generate());
        let read =
            cmd("XREAD").arg("STREAMS").arg(keys.of_no_pool("reports")).arg("0").exec_async(&mut connection).await;
        // Whether these keys may be used is told by the script.
        refused.note("XREAD", read.or_else(|error| if is_about(&error, "key") { Ok(()) } else { Err(error) }))?;
        let tried = [
            keys.agent(AgentId::generate()),
            keys.process(worker),
            keys.of_no_pool("processes"),
            keys.condemned(worker),
        ];
        for (key, pattern) in tried.into_iter().zip(self.keys().patterns()) {
            let mut call = scripts::RIGHTS.prepare_invoke();
            call.key(key);
            match call.invoke_async::<Vec<String>>(&mut connection).await {
                Ok(failed) => failed.chunks_exact(2).for_each(|pair| refused.sort(&pair[0], &pair[1])),
                Err(error) if is_about(&error, "key") => drop(refused.keys.insert(format!("~{pattern}"))),
                Err(error) => refused.note("EVAL, EVALSHA, SCRIPT LOAD", Err(error))?,
            }
        }
        Ok(())
    }

    async fn try_channels(&self, refused: &mut Refused) -> RedisResult<()> {
        let mut connection = dial(&self.shared.client).await?;
        let (mut sink, _messages) = self.shared.client.get_async_pubsub().await?.split();
        let (keys, worker) = (self.keys(), ProcessId::generate());
        // Channels that nobody listens to: a worker that is none, and a pool that can't be one.
        let [_, workers, pools, _] = self.keys().patterns();
        let tried = [(workers, keys.worker_commands(worker)), (pools, keys.of_no_pool("events"))];
        for (pattern, channel) in tried {
            let publish = cmd("PUBLISH").arg(&channel).arg("").exec_async(&mut connection).await;
            for (command, outcome) in [("PUBLISH", publish), ("SUBSCRIBE", sink.subscribe(&channel).await)] {
                match outcome {
                    Err(error) if is_about(&error, "channel") => drop(refused.channels.insert(format!("&{pattern}"))),
                    outcome => refused.note(command, outcome)?,
                }
            }
        }
        Ok(())
    }

    fn describe(&self, refused: &Refused) -> String {
        let settings = self.shared.client.get_connection_info().redis_settings();
        let user = settings.username().unwrap_or("default");
        let mut words = Vec::new();
        let list = |all: &BTreeSet<String>| all.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        for (what, all) in [("commands", &refused.commands), ("keys", &refused.keys), ("channels", &refused.channels)] {
            if !all.is_empty() {
                words.push(format!("the user {user} of redis.url has no right to the {what} {}", list(all)));
            }
        }
        if !words.is_empty() {
            let [agents, workers, pools, own] = self.keys().patterns();
            words.push(format!(
                "what Muster needs is given by `ACL SETUSER {user} ~{agents} ~{workers} ~{pools} ~{own} &{workers} &{pools} {COMMANDS}`"
            ));
        }
        if !refused.unknown.is_empty() {
            words.push(format!(
                "the server does not know the commands {}: they were renamed or taken away (rename-command), and Muster needs them",
                list(&refused.unknown)
            ));
        }
        words.join("; ")
    }
}

impl Refused {
    fn is_empty(&self) -> bool {
        [&self.commands, &self.unknown, &self.keys, &self.channels].iter().all(|all| all.is_empty())
    }

    /// Takes down what the server refused. What is no refusal ends the trial.
    fn note(&mut self, command: &str, outcome: RedisResult<()>) -> RedisResult<()> {
        let Err(error) = outcome else { return Ok(()) };
        let text = error.to_string();
        if error.is_io_error() || error.code().is_none() {
            return Err(error);
        }
        self.sort(command, &text);
        Ok(())
    }

    fn sort(&mut self, command: &str, text: &str) {
        let lower = text.to_ascii_lowercase();
        if lower.contains("unknown redis command") || lower.contains("unknown command") {
            self.unknown.insert(command.to_owned());
        } else if lower.contains("noperm")
            || lower.contains("can't run this command")
            || lower.contains("no permission")
        {
            self.commands.insert(command.to_owned());
        } else {
            self.other.get_or_insert_with(|| format!("{command}: {}", refusal::explain(text)));
        }
    }
}

/// Whether a right is lacking to access one of these.
fn is_about(error: &RedisError, what: &str) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    error.code() == Some("NOPERM") && text.contains("access") && text.contains(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words behind each of these in the files of this engine.
    fn words_behind(signs: &[&str]) -> BTreeSet<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/redis");
        let files = [folder.to_owned(), format!("{folder}/lua")].into_iter().flat_map(|folder| {
            std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        });
        let texts = files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).expect("a text"));
        let mut words = BTreeSet::new();
        for text in texts {
            for sign in signs {
                let found = text.split(sign).skip(1).filter_map(|rest| rest.split(['"', '\'']).next());
                words.extend(
                    found
                        .filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase()))
                        .map(str::to_lowercase),
                );
            }
        }
        words
    }

    #[test]
    fn what_is_advised_is_tried() {
        let tried: BTreeSet<String> =
            [include_str!("rights.rs"), include_str!("lua/rights.lua")].into_iter().flat_map(tried_in).collect();
        // Without these nothing else of the trial works, or what they undo was done.
        let implied = ["select", "eval", "evalsha", "script|load", "unsubscribe", "subscribe"];
        for rule in COMMANDS.split_whitespace().filter_map(|rule| rule.strip_prefix('+')) {
            assert!(implied.contains(&rule) || tried.contains(rule), "{rule} is advised and not tried");
        }
    }

    fn tried_in(text: &str) -> Vec<String> {
        let found = ["try('", "cmd(\""].iter().flat_map(|sign| text.split(sign).skip(1));
        found.filter_map(|rest| rest.split(['"', '\'']).next()).map(str::to_lowercase).collect()
    }

    #[test]
    fn every_command_is_in_the_advice_and_the_advice_in_the_readme() {
        let advised: BTreeSet<&str> = COMMANDS.split_whitespace().filter_map(|rule| rule.strip_prefix('+')).collect();
        let used = words_behind(&["redis.call('", "own('", "redis.pcall('", "cmd(\""]);
        assert!(used.len() > 10, "{used:?}");
        for word in used {
            assert!(advised.contains(word.as_str()), "{word} is not in the rights that are advised");
        }
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(COMMANDS), "the README has other rights");
    }
}
