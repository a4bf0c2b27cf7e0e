//! `cargo xtask image`: the container image, made without a registry, and tried as a cluster would run it: not as root, and with a root
//! file system that nobody can write to.
//!
//! The stage of `docker/Dockerfile` that builds Serin is left out, and a program that is there already taken in its place. All of the
//! rest is what `docker build` does.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::install::{Needed, packages, to_build};
use crate::shell::{cargo, output, run, say, target};

const PROGRAMS: [Needed; 4] =
    [("buildah", "buildah"), ("strip", "binutils"), ("unshare", "util-linux"), ("setpriv", "util-linux")];

/// What the image is called where it is loaded.
const NAME: &str = "serin:0.1.0";

/// Where the stages begin that are built here.
const FIRST_LINE: &str = "FROM scratch";

/// Arguments: `--serin PATH` for a program that is built already.
pub(crate) fn image(args: &[String]) -> Outcome {
    let program = match args {
        [] => {
            to_build()?;
            run(&mut cargo(["build", "--quiet", "--release", "--package", "serin"]))?;
            target().join("release/serin")
        }
        [flag, path] if flag == "--serin" => PathBuf::from(path),
        _ => return Err("usage: cargo xtask image [--serin PATH]".to_owned()),
    };
    packages(&PROGRAMS)?;
    let folder = absolute(&target().join("image"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    fs::create_dir_all(folder.join("context")).map_err(|error| format!("{}: {error}", folder.display()))?;
    let storage = Storage(folder.join("storage"));
    build(&absolute(&program)?, &folder, &storage)?;
    let container = storage.ask(&["from", NAME])?;
    let outcome = try_out(&container, &folder, &storage);
    run(&mut storage.buildah(&["rm", &container]))?;
    outcome?;
    let archive = folder.join("serin.tar");
    run(&mut storage.buildah(&["push", "--quiet", NAME, &format!("docker-archive:{}:{NAME}", archive.display())]))?;
    say(&format!("image: {}, for docker load: {}", storage.size()?, archive.display()));
    fs::remove_dir_all(&storage.0).map_err(|error| format!("{}: {error}", storage.0.display()))
}

fn build(program: &Path, folder: &Path, storage: &Storage) -> Outcome {
    let laid = folder.join("build");
    run(Command::new("sh").arg("docker/root.sh").arg(program).arg(laid.join("out")))?;
    let whole = fs::read_to_string("docker/Dockerfile").map_err(|error| format!("docker/Dockerfile: {error}"))?;
    let at = whole.find(FIRST_LINE).ok_or_else(|| format!("docker/Dockerfile has no line `{FIRST_LINE}`"))?;
    let file = folder.join("Dockerfile");
    fs::write(&file, &whole[at..]).map_err(|error| format!("{}: {error}", file.display()))?;
    let context = format!("build={}", laid.display());
    // The other format has no health command.
    let mut bud = storage.buildah(&["bud", "--quiet", "--isolation", "chroot", "--format", "docker", "--tag", NAME]);
    run(bud.args(["--build-context", &context, "--file"]).arg(file).arg(folder.join("context")))
}

/// A container of the image serves a request, and says that it is well.
fn try_out(container: &str, folder: &Path, storage: &Storage) -> Outcome {
    let image = Image::read(container, folder, storage)?;
    let endpoint = endpoint().map_err(|error| error.to_string())?;
    let config = folder.join("config");
    fs::create_dir_all(&config).map_err(|error| error.to_string())?;
    let text = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
         routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n"
    );
    fs::write(config.join("serin.yaml"), text).map_err(|error| error.to_string())?;

    let mut command = image.command(&image.words(&["Entrypoint", "Cmd"])?, &[]);
    let mut serin = Running(command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?);
    let mut ready = String::new();
    let stdout = serin.0.stdout.as_mut().ok_or("its output is piped")?;
    BufReader::new(stdout).read_line(&mut ready).map_err(|error| error.to_string())?;
    say(ready.trim_end());
    let web = place(&ready, "web").ok_or("the container does not start")?;
    let admin = format!("http://{}", place(&ready, "admin").ok_or("the container has no admin API")?);
    confined(serin.0.id())?;
    let said = get(&web).map_err(|error| format!("{web}: {error}"))?;
    expect(said.ends_with("hello from the app"), &format!("a request through the container got {said:?}"))?;

    let health = image.words(&["Healthcheck.Test"])?;
    let health = health.strip_prefix(&["CMD".to_owned()]).ok_or("the image has no health command")?;
    let mut is_well = image.command(health, &[("SERIN_ADMIN", &admin)]);
    let code = is_well.status().map_err(|error| error.to_string())?.code();
    expect(code == Some(0), &format!("its health command says {code:?}"))?;
    run(Command::new("kill").arg("-TERM").arg(serin.0.id().to_string()))?;
    let code = serin.0.wait().map_err(|error| error.to_string())?.code();
    expect(code == Some(0), &format!("asked to end, the container ends with {code:?}"))?;
    let code = is_well.status().map_err(|error| error.to_string())?.code();
    expect(code == Some(3), &format!("when it has ended, its health command says {code:?}"))
}

/// Nothing of what would let it out of a container is its own.
fn confined(process: u32) -> Outcome {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).map_err(|error| error.to_string());
    let (status, mounts) = (read("status")?, read("mountinfo")?);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let users: Vec<&str> = field("Uid:").split_whitespace().chain(field("Gid:").split_whitespace()).collect();
    expect(users.len() == 8 && users.iter().all(|id| *id == "65532"), &format!("it runs as {users:?}"))?;
    expect(field("CapEff:").bytes().all(|digit| digit == b'0'), "it has capabilities")?;
    expect(field("NoNewPrivs:") == "1", "it could get privileges")?;
    let root =
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|fields| fields.get(4) == Some(&"/"));
    let is_read_only = root.is_some_and(|fields| fields.get(5).is_some_and(|options| options.starts_with("ro")));
    expect(is_read_only, "its root file system can be written to")
}

/// What an image says of how it is run, and where its files are.
struct Image<'s> {
    container: String,
    root: PathBuf,
    config: PathBuf,
    storage: &'s Storage,
    env: Vec<(String, String)>,
}

impl<'s> Image<'s> {
    fn read(container: &str, folder: &Path, storage: &'s Storage) -> Result<Self, String> {
        let root = PathBuf::from(storage.ask(&["mount", container])?);
        // Whatever runs containers makes what it mounts on.
        fs::create_dir_all(root.join("proc")).map_err(|error| error.to_string())?;
        let config = folder.join("config");
        let mut image = Self { container: container.to_owned(), root, config, storage, env: Vec::new() };
        let env = image.words(&["Env"])?;
        image.env = env.iter().filter_map(|it| it.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect();
        let user = image.storage.ask(&["inspect", "--format", "{{.Docker.Config.User}}", container])?;
        expect(user == USER, &format!("the image's user is {user}"))?;
        Ok(image)
    }

    /// Lists of the image's description, one after the other.
    fn words(&self, lists: &[&str]) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        for list in lists {
            let format = format!("{{{{range .Docker.Config.{list}}}}}{{{{println .}}}}{{{{end}}}}");
            let said = self.storage.ask(&["inspect", "--format", &format, &self.container])?;
            words.extend(said.lines().map(str::to_owned));
        }
        Ok(words)
    }

    /// Runs this in a container of it, on this machine's network.
    fn command(&self, words: &[String], more: &[(&str, &str)]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", ENTER, "sh", USER]);
        command.arg(&self.root).arg(&self.config).args(words);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.env.iter().map(|(name, value)| (name, value))).envs(more.iter().copied());
        command
    }
}

/// Whom the image runs as.
const USER: &str = "65532:65532";

/// What runs containers does more, but nothing that is stricter with files and users.
const ENTER: &str = "user=$1 root=$2 config=$3; shift 3\n\
    mount --bind \"$root\" \"$root\"\n\
    mount -t proc proc \"$root/proc\"\n\
    mount -t tmpfs -o mode=0700,uid=${user%:*},gid=${user#*:} state \"$root/var/lib/serin\"\n\
    mount --bind -o ro \"$config\" \"$root/etc/serin\"\n\
    mount -o remount,bind,ro \"$root\"\n\
    exec setpriv --no-new-privs --inh-caps=-all chroot --userspec=\"$user\" --groups= \"$root\" \"$@\"";

/// Images and containers, in a folder of their own.
struct Storage(PathBuf);

impl Storage {
    fn buildah(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        // It needs nothing of the kernel, and is quick enough for one layer.
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.0.join("root"));
        command.arg("--runroot").arg(self.0.join("run")).args(args);
        command
    }

    fn ask(&self, args: &[&str]) -> Result<String, String> {
        let said = output(&mut self.buildah(args)).ok_or_else(|| format!("`buildah {}` failed", args.join(" ")))?;
        Ok(said.trim().to_owned())
    }

    fn size(&self) -> Result<String, String> {
        self.ask(&["images", "--noheading", "--format", "{{.Size}}", NAME])
    }
}

/// Ends with what asked for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers requests until the process ends.
fn endpoint() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\nconnection: close\r\n\r\nhello from the app");
        }
    });
    Ok(address)
}

fn get(place: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(place)?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// An address of `serin ready: web 127.0.0.1:8080, admin 127.0.0.1:9900`.
fn place(ready: &str, name: &str) -> Option<String> {
    let places = ready.trim().strip_prefix("serin ready: ")?.split(", ");
    places.filter_map(|place| place.split_once(' ')).find(|(named, _)| *named == name).map(|(_, at)| at.to_owned())
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn expect(is_so: bool, otherwise: &str) -> Outcome {
    if is_so { Ok(()) } else { Err(otherwise.to_owned()) }
}
