//! `muster serve`: its flags, as settings.

use super::roles::Given;

/// Arguments of `muster serve`.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Address of the HTTP API; port 0 takes a free one [env: MUSTER_LISTEN] [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Redis to use [env: MUSTER_REDIS_URL] [default: a private server]
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// Database to use [env: MUSTER_DATABASE_URL] [default: the file muster.db in the data folder]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Everything in one process, without Redis [env: MUSTER_SINGLE_PROCESS]
    #[arg(long)]
    single_process: bool,
    /// Form of the log, text or json [env: MUSTER_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
}

impl ServeArgs {
    /// The global flags and these.
    pub(super) fn given(&self, mut given: Given) -> Given {
        given.set("listen", self.listen.clone());
        given.set("redis.url", self.redis_url.clone());
        given.set("database.url", self.database_url.clone());
        given.set("single_process", self.single_process.then(|| "true".to_owned()));
        given.set("log_format", self.log_format.clone());
        given
    }
}
