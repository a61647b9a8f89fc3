//! StackExchange.Redis connection strings: what is mapped, ignored and refused.

use std::time::Duration;

use super::super::{Config, Endpoint, Protocol};
use super::{SECRET, message};

fn read(text: &str) -> Config {
    Config::from_stackexchange(text).unwrap_or_else(|error| panic!("{text} was refused: {error}"))
}

#[test]
fn endpoints() {
    for (text, endpoint) in [
        ("redis", Endpoint::tcp("redis", 6379)),
        ("redis:6380", Endpoint::tcp("redis", 6380)),
        ("  redis:6380 , ,ssl=false,", Endpoint::tcp("redis", 6380)),
        ("password=p,redis:6380", Endpoint::tcp("redis", 6380)),
        ("[::1]:6380", Endpoint::tcp("::1", 6380)),
        ("[::1]", Endpoint::tcp("::1", 6379)),
        ("!/run/redis.sock", Endpoint::unix("/run/redis.sock")),
    ] {
        assert_eq!(read(text).endpoint, endpoint, "{text}");
    }
}

#[test]
fn options() {
    let config = read(
        "redis:6379,User=u,PASSWORD = a=b== ,keepAlive=60,abortConnect=false,connectTimeout=5000,syncTimeout=4000,\
         asyncTimeout=2000,defaultDatabase=1,name=orders,protocol=RESP3,connectRetry=3,allowAdmin=true,sslHost=x,\
         ssl=False,tiebreaker=,channelPrefix=,serviceName=",
    );
    let mut expected =
        Config::new("redis", 6379).with_username("u").with_password("a=b==").with_db(1).with_client_name("orders");
    expected.protocol = Protocol::Resp3;
    expected.dial.keepalive_idle = Duration::from_secs(60);
    expected.dial.timeout = Duration::from_secs(5);
    expected.commands.deadline = Duration::from_secs(2);
    assert_eq!(config, expected);
}

#[test]
fn timeouts() {
    assert_eq!(read("h,syncTimeout=4000").commands.deadline, Duration::from_secs(4));
    assert_eq!(read("h,asyncTimeout=1000,syncTimeout=4000").commands.deadline, Duration::from_secs(1));
    let short = read("h,connectTimeout=300").dial;
    assert_eq!((short.connect_timeout, short.timeout), (Duration::from_millis(300), Duration::from_millis(300)));
    assert_eq!(read("h,keepAlive=-1"), Config::new("h", 6379));
}

#[test]
fn refused() {
    let cases = [
        ("", "host is missing"),
        (",,", "host is missing"),
        ("password=p", "host is missing"),
        (":6379", "host is empty"),
        ("h:0", "expected a number from 1 to 65535"),
        ("h:port", "expected a number from 1 to 65535"),
        ("a:1,b:2", "several endpoints"),
        ("::1", "has several colons"),
        ("h,ssl=maybe", "ssl is `maybe`, expected true or false"),
        ("h,channelPrefix=x", "channelPrefix is not supported"),
        ("h,tunnel=http:proxy", "tunnel is not supported"),
        ("h,$INFO=", "$COMMAND= is not supported"),
        ("h,allowAdmn=true", "option 2 (`allowAdmn`) is not known, allowed are abortConnect"),
        ("h,=x", "option 2"),
        ("h,name=a,NAME=b", "name is given twice"),
        ("h,connectTimeout=0", "connectTimeout is 0s, allowed is 1ms to 1h"),
        ("h,asyncTimeout=soon", "asyncTimeout is `soon`, expected a number of milliseconds"),
        ("h,asyncTimeout=18446744073709551615", "allowed is 1ms to 1h"),
        ("h,keepAlive=9223372036854775807", "keepAlive is"),
        ("h,defaultDatabase=-1", "db is not a number"),
        ("h,protocol=resp9", "protocol is `resp9`"),
        ("h,user=u", "username is given without a password"),
    ];
    for (text, expected) in cases {
        let message = message(Config::from_stackexchange(text));
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn misplaced_passwords_stay_secret() {
    let cases = [
        "h:{}",
        "h,password=a,{}",
        "h,password=a,{}=b",
        "h,password=a,{}=b,c",
        "h,password={},nonsense=1",
        "h,password={},password={}",
        "h,keepAlive=60;password={}",
        "h,password={},ssl=true,sslHost=a b",
        "h,ssl=true,sslHost={}@h",
        "h,{}",
        "u:{}@h:6379",
    ];
    for case in cases {
        message(Config::from_stackexchange(&case.replace("{}", SECRET)));
    }
}
