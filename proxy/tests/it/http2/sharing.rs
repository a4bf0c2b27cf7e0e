//! Long connections spread over the workers, whoever accepts them.

use crate::support::http2::Frames;
use crate::support::{Origin, PATIENCE, Serin, eventually};

fn with_two_workers(origin: &Origin) -> Serin {
    Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
         routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ))
}

#[test]
fn sixteen_connections_are_eight_for_each_of_two_workers() {
    let origin = Origin::named("app");
    let serin = with_two_workers(&origin);
    for together in [true, false] {
        let before = requests(&serin);
        let mut clients: Vec<Frames> = Vec::new();
        for _ in 0..16 {
            let mut client = Frames::connect(serin.address());
            if !together {
                assert_eq!(client.get_body(1, "/"), b"app");
            }
            clients.push(client);
        }
        for round in 1..=20 {
            clients.iter_mut().for_each(|client| client.get(2 * round + 1, "/"));
            clients.iter_mut().for_each(|client| assert_eq!(client.answer(2 * round + 1).body, b"app"));
        }
        assert_eq!(serin.metric("serin_connections_open"), 16.0);
        let each: Vec<f64> = requests(&serin).iter().zip(before).map(|(now, before)| now - before).collect();
        let all: f64 = each.iter().sum();
        assert!(all >= 320.0 && each.iter().all(|count| count / all <= 0.6), "{each:?}");
        drop(clients);
        eventually(PATIENCE, "closed", || serin.metric("serin_connections_open") == 0.0);
    }
    assert_eq!(serin.metric("serin_connections_opened_total"), 32.0);
}

fn requests(serin: &Serin) -> [f64; 2] {
    ["worker=\"0\"", "worker=\"1\""].map(|worker| serin.metric_of("serin_worker_requests_total", worker))
}

#[test]
fn whoever_serves_it_a_connection_counts_as_its_clients_until_it_ends() {
    let origin = Origin::named("app");
    let serin = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
         limits: {{connections_per_client: 4}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ));
    for _ in 0..3 {
        let mut clients: Vec<Frames> = (0..4).map(|_| Frames::connect(serin.address())).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get_body(1, "/"), b"app"));
        let mut another = Frames::silent(serin.address());
        another.comes(PATIENCE, |seen| seen.is_over);
        assert!(another.seen.is_over, "one too many");
        drop(clients);
        eventually(PATIENCE, "room", || serin.metric("serin_connections_open") == 0.0);
    }
}
