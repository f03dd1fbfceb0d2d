//! A real PostgreSQL for tests of commands.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A PostgreSQL of this test alone; its end ends the server.
pub(in crate::cli) struct Server {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(in crate::cli) fn start() -> Self {
        let programs =
            fs::read_dir("/usr/lib/postgresql").expect("this test needs PostgreSQL: apt-get install postgresql");
        let newest = programs.map(|entry| entry.unwrap().path()).max().unwrap().join("bin");
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL refuses to run as root.
        let id = |what: &str, of: &[&str]| -> u32 {
            let told = Command::new("id").arg(what).args(of).output().unwrap().stdout;
            String::from_utf8(told).unwrap().trim().parse().unwrap()
        };
        let user = (id("-u", &[]) == 0).then(|| (id("-u", &["postgres"]), id("-g", &["postgres"])));
        let program = |name: &str| {
            let mut program = Command::new(newest.join(name));
            program.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            if let Some((user, group)) = user {
                program.uid(user).gid(group);
            }
            program
        };
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let data = folder.path().join("data");
        let made = program("initdb").args(["-U", "owner", "-A", "trust", "-D"]).arg(&data).status().unwrap();
        assert!(made.success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = program("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "fsync=off"])
            .spawn()
            .unwrap();
        let server = Self { child, port, _folder: folder };
        let begun = Instant::now();
        while let Err(error) = server.run("SELECT 1") {
            assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub(in crate::cli) fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    pub(in crate::cli) fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url("owner"), tokio_postgres::NoTls).await?;
            let connection = tokio::spawn(connection);
            let done = client.batch_execute(sql).await;
            drop(client);
            connection.await.unwrap()?;
            done
        })
    }
}
