//! The template daemon: `template-daemon NGINX ETCD LISTEN FOLDER`.

use std::io;

use serin_bench::etcd::daemon::Daemon;
use serin_bench::process;

fn main() -> io::Result<()> {
    process::end_with_parent();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nginx, etcd, listen, folder] = arguments.as_slice() else {
        return Err(io::Error::other("template-daemon NGINX ETCD LISTEN FOLDER"));
    };
    let address = |text: &String| text.parse().map_err(io::Error::other);
    Daemon { nginx: nginx.into(), etcd: address(etcd)?, listen: address(listen)?, folder: folder.into() }.run()
}
