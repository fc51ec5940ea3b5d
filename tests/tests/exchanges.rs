//! What a split shows beside its connections: HTTP answers, and what was sent again.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Lab, wait_for},
    scenario::{HOLD, Scenario, Subset, TIMEOUT, VIRTUAL_V4},
    workload::client::greet,
};

const SUBSETS: [Subset; 1] = [Subset { name: "blue", pods: 1 }];

#[test]
fn http_answers_are_counted_by_class_one_an_exchange() -> Result<()> {
    Lab::run("answers", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(HOLD.service, &[("blue", 100.0)])?;
        let split = || -> Result<_> {
            lab.service(HOLD.service)?.splits.into_iter().next().context("no split")
        };
        ensure!(split()?.http.is_none(), "nobody has answered");
        // The server sends back what it gets, so the client says what is to be answered.
        let answers =
            ["200 OK", "200 OK", "404 Not Found", "503 Service Unavailable", "304 ", "no"];
        scenario.client.namespace.enter(|| -> Result<()> {
            let mut stream = TcpStream::connect_timeout(&HOLD.frontend(), TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            let greeting = stream.read(&mut [0; 64])?;
            ensure!(greeting > 0, "the server says its name first");
            for answer in answers {
                let text = format!("HTTP/1.1 {answer}\r\nX: {}\r\n\r\n", "x".repeat(2_000));
                stream.write_all(text.as_bytes())?;
                let mut back = vec![0; text.len()];
                stream.read_exact(&mut back)?;
                ensure!(back == text.as_bytes(), "it sends back what it got");
            }
            Ok(())
        })??;

        let seen = split()?.http.context("no answer was seen")?;

        let seen: Vec<(&str, u64)> = seen.iter().map(|(class, n)| (class.as_str(), *n)).collect();
        assert_eq!(seen, [("1xx", 0), ("2xx", 2), ("3xx", 1), ("4xx", 1), ("5xx", 1)]);
        Ok(())
    })
}

#[test]
fn syns_that_a_client_sends_again_are_counted() -> Result<()> {
    Lab::run("again", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let (client, pod) = (&scenario.client.namespace, &scenario.backend("blue-1")?.pod);
        pod.namespace.drop_incoming(&format!("tcp dport {}", HOLD.pod_port))?;
        let syns = format!("ip daddr {VIRTUAL_V4} tcp flags & (syn | ack) == syn");
        client.count_outgoing(&syns)?;

        let answered = thread::scope(|scope| -> Result<String> {
            let connect = scope.spawn(|| client.enter(|| greet(HOLD.frontend(), TIMEOUT)));
            wait_for("a SYN to be sent again", TIMEOUT, || {
                Ok(pod.namespace.counted("deaf", "seen")? >= 2)
            })?;
            pod.namespace.nft("delete table inet deaf")?;
            let (_stream, name) = connect.join().ok().context("the client panicked")???;
            Ok(name)
        })?;

        assert_eq!(answered, "blue-1");
        let sent = client.counted("asks", "seen")?;
        let split = lab.service(HOLD.service)?.splits.into_iter().next().context("no split")?;
        assert_eq!((split.retransmits.syn, split.connections.opened), (sent - 1, 1));
        Ok(())
    })
}

#[test]
fn segments_that_either_end_sends_again_are_counted() -> Result<()> {
    Lab::run("segments", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let (client, pod) =
            (&scenario.client.namespace, &scenario.backend("blue-1")?.pod.namespace);
        let mut stream = client.enter(|| greet(HOLD.frontend(), TIMEOUT))??.0;
        let counted = || -> Result<u64> {
            let split = lab.service(HOLD.service)?.splits.into_iter().next().context("no split")?;
            split.retransmits.segments.context("segments are not counted")
        };
        assert_eq!(counted()?, 0);
        let questions = format!("tcp dport {} tcp flags & psh == psh", HOLD.pod_port);
        let answers = format!("tcp sport {} tcp flags & psh == psh", HOLD.pod_port);
        let [to_service, from_service] =
            ["daddr", "saddr"].map(|end| format!("ip {end} {VIRTUAL_V4} tcp flags & psh == psh"));

        client.count_outgoing(&to_service)?;
        pod.count_outgoing(&answers)?;

        // The question is lost for a while, and then the answer, with what it acknowledges.
        for (receiver, incoming) in [(pod, &questions), (client, &from_service)] {
            receiver.drop_incoming(incoming)?;
            stream.write_all(b"x")?;
            wait_for("a segment to be sent again", TIMEOUT, || {
                Ok(receiver.counted("deaf", "seen")? >= 2)
            })?;
            receiver.nft("delete table inet deaf")?;
            stream.read_exact(&mut [0])?;
        }

        // Of each end two are no repetition.
        let sent = client.counted("asks", "seen")? + pod.counted("asks", "seen")? - 4;
        assert!(sent >= 2, "{sent}");
        assert_eq!(counted()?, sent);
        Ok(())
    })
}

#[test]
fn segments_that_the_node_itself_sends_again_are_counted() -> Result<()> {
    Lab::run("own", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let pod = &scenario.backend("blue-1")?.pod.namespace;
        let script = lab.script(lab.node())?;
        script.open("s", "tcp4")?;
        script.connect("s", HOLD.frontend())?;
        let questions = format!("tcp dport {} tcp flags & psh == psh", HOLD.pod_port);
        pod.drop_incoming(&questions)?;
        lab.node().count_outgoing(&questions)?;
        script.run("send s hello")?;
        wait_for("a segment to be sent again", TIMEOUT, || Ok(pod.counted("deaf", "seen")? >= 2))?;
        pod.nft("delete table inet deaf")?;

        wait_for("all of them to be counted", TIMEOUT, || {
            let split = lab.service(HOLD.service)?.splits.into_iter().next().context("no split")?;
            let sent = lab.node().counted("asks", "seen")?;
            Ok(sent >= 2 && split.retransmits.segments == Some(sent - 1))
        })?;
        Ok(())
    })
}
