// Step 3 in C++: many clients, asleep when idle.
//
// A TCP echo server. The kernel keeps the interest list, and epoll_wait(2)
// sleeps until a descriptor on it is ready: level-triggered epoll(7).
//
// Build: g++ docs/server_epoll.cpp (it makes ./a.out)
// Usage: server_epoll [-addr 127.0.0.1:6379]
//
// This is step3-epoll-lt/main.go in C++: the same functions and names, in the
// same order. Where C++ needs a different call than Go, a comment says why.

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

const char program[] = "server_epoll";
const int backlog = 4096;        // connections that may wait: listen(2)
const size_t bufSize = 64 << 10; // bytes that one read may return
const int maxEvents = 256;       // events that one epoll_wait may return

struct conn {
    int fd;
    sockaddr_in addr; // the client's address, for the log

    // Bytes read and not yet written. While there are any, the connection
    // is flushing and nothing more is read from it; otherwise it is reading.
    std::vector<char> pending;

    uint32_t interest; // EPOLLIN while reading, EPOLLOUT while flushing
};

// Its functions are named after the calls that they wrap: read is ours, and
// ::read is the kernel's. A string that they return is the reason to close c.
struct server {
    int listener = -1;
    sockaddr_in addr = {};
    char buf[bufSize]; // shared: written or copied before the next read
    std::unordered_map<int, conn> conns; // by descriptor
    int epfd = -1;
    bool full = false; // no descriptor was free: the listener's interest is 0

    void listen();
    void serve();
    void accept();
    void outOfDescriptors();
    void turn(conn &c);
    std::string read(conn &c);
    std::string write(conn &c, const char *data, size_t size);
    int setInterest(int op, int fd, uint32_t interest);
    void close(conn &c, std::string why);
};

bool parse(int argc, char *argv[], sockaddr_in &addr);
std::string addrPort(const sockaddr_in &addr);
void logLine(const std::string &line);
std::string failed(const char *call);
void check(const char *call, int result);

int main(int argc, char *argv[]) {
    server s;
    if (!parse(argc, argv, s.addr)) {
        std::string got;
        for (int i = 1; i < argc; i++)
            got += std::string(i > 1 ? " " : "") + '"' + argv[i] + '"';
        logLine("got [" + got + "]; want -addr IPv4:PORT and nothing else, "
                "such as -addr 127.0.0.1:7000");
        return 2;
    }
    // The soft limit is often 1024. Raised to the hard limit, it allows more
    // clients. The Go runtime does that by itself.
    rlimit limit;
    check("getrlimit(RLIMIT_NOFILE)", getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    check("setrlimit(RLIMIT_NOFILE)", setrlimit(RLIMIT_NOFILE, &limit));
    s.listen();
    logLine("listening on " + addrPort(s.addr));
    s.serve();
}

bool parse(int argc, char *argv[], sockaddr_in &addr) {
    const char *at = "127.0.0.1:6379";
    const option options[] = {{"addr", required_argument, nullptr, 'a'}, {}};
    opterr = 0; // getopt prints nothing: main reports misuse
    int opt;
    while ((opt = getopt_long_only(argc, argv, "+", options, nullptr)) == 'a')
        at = optarg;
    char host[16], port[6];
    int end = 0;
    if (opt != -1 || optind < argc ||
        sscanf(at, "%15[0-9.]:%5[0-9]%n", host, port, &end) != 2 || at[end])
        return false;
    addr.sin_family = AF_INET;
    addr.sin_port = htons(atoi(port));
    return atoi(port) <= UINT16_MAX &&
           inet_pton(AF_INET, host, &addr.sin_addr) == 1;
}

void server::listen() {
    const int on = 1;
    listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check("socket", listener);
    check("setsockopt(SO_REUSEADDR)",
          ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    check("setsockopt(TCP_NODELAY)", // accepted sockets inherit it
          ::setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    std::string call = "bind " + addrPort(addr) + " (if it is taken, "
                       "choose another port with -addr; 6379 is Redis's)";
    socklen_t len = sizeof addr;
    check(call.c_str(), ::bind(listener, (sockaddr *)&addr, len));
    check("listen", ::listen(listener, backlog));
    check("getsockname", // for port 0, the kernel chose one
          ::getsockname(listener, (sockaddr *)&addr, &len));
}

// serve sleeps until descriptors are ready, and serves those.
void server::serve() {
    epfd = ::epoll_create1(EPOLL_CLOEXEC);
    check("epoll_create1", epfd);
    check("epoll_ctl(EPOLL_CTL_ADD)",
          setInterest(EPOLL_CTL_ADD, listener, EPOLLIN));
    epoll_event events[maxEvents];
    for (;;) {
        int n = ::epoll_wait(epfd, events, maxEvents, -1);
        if (n == -1 && errno == EINTR)
            continue; // a signal; epoll_wait is never restarted: signal(7)
        check("epoll_wait", n);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept();
            else
                turn(conns.at(fd)); // not conns[fd]: [] could add an element
        }
    }
}

// accept accepts all clients that have connected.
void server::accept() {
    for (;;) {
        sockaddr_in from; // AF_INET, like the listener
        socklen_t len = sizeof from;
        int fd = ::accept4(listener, (sockaddr *)&from, &len,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
        switch (fd == -1 ? errno : 0) { // only a failed call sets errno
        case 0:            break;
        case EAGAIN:       return;   // the queue is empty
        case ECONNABORTED: continue; // it left while queued: try the next
        case EMFILE: case ENFILE: case ENOBUFS: case ENOMEM:
            outOfDescriptors();
            return;
        default:           check("accept4", fd); // ends the program
        }
        // A reference to an element stays valid until that one is erased.
        conn &c = conns[fd] = conn{fd, from, {}, EPOLLIN};
        logLine("fd " + std::to_string(fd) + ": " + addrPort(from) +
                " connected");
        if (setInterest(EPOLL_CTL_ADD, fd, c.interest) == -1)
            close(c, failed("epoll_ctl(EPOLL_CTL_ADD)"));
    }
}

// outOfDescriptors pauses the listener until close resumes it: queued clients
// keep it ready, and epoll_wait would return at once, again and again.
void server::outOfDescriptors() {
    if (conns.empty())
        check("accept4", -1); // there is no client that could leave
    logLine(failed("accept4") + ": waiting for a client to leave");
    full = true;
    check("epoll_ctl(EPOLL_CTL_MOD)", setInterest(EPOLL_CTL_MOD, listener, 0));
}

// turn does one step for c: it flushes, or reads once and answers.
void server::turn(conn &c) {
    std::string why = c.pending.empty()
        ? read(c) : write(c, c.pending.data(), c.pending.size());
    if (!why.empty())
        close(c, why); // last, because c no longer exists after it
}

// read takes at most one buffer of what c has sent, and sends it back.
std::string server::read(conn &c) {
    ssize_t n = ::read(c.fd, buf, sizeof buf);
    if (n == -1 && errno == EAGAIN)
        return ""; // nothing has arrived
    if (n == -1)
        return failed("read"); // not EINTR: this call never sleeps
    if (n == 0)
        return "EOF"; // c sends no more and got everything back
    return write(c, buf, n);
}

// write sends data to c. What does not fit into c's send queue is pending.
std::string server::write(conn &c, const char *data, size_t size) {
    while (size > 0) { // send(2) may take less than it is given
        // write(2) to a client that has left would end this process with
        // SIGPIPE, which Go prevents. With MSG_NOSIGNAL the call fails with
        // EPIPE instead.
        ssize_t n = ::send(c.fd, data, size, MSG_NOSIGNAL);
        if (n == -1 && errno == EAGAIN)
            break;
        if (n == -1)
            return failed("send");
        data += n;
        size -= n;
    }
    // data is part of buf or of pending itself: it is copied before pending is
    // replaced. Without data that frees pending: only a stalled client keeps
    // one.
    c.pending = std::vector<char>(data, data + size);
    uint32_t interest = size > 0 ? EPOLLOUT : EPOLLIN;
    if (interest == c.interest)
        return "";
    c.interest = interest;
    return setInterest(EPOLL_CTL_MOD, c.fd, interest) == 0
        ? "" : failed("epoll_ctl(EPOLL_CTL_MOD)");
}

// setInterest sets the events on fd that wake the loop. What turn then does
// depends on the connection's state. EPOLLERR and EPOLLHUP always wake the
// loop: the next read or write returns the reason.
int server::setInterest(int op, int fd, uint32_t interest) {
    epoll_event event = {};
    event.events = interest;
    event.data.fd = fd; // a union; the kernel does not interpret it
    return ::epoll_ctl(epfd, op, fd, &event);
}

// close ends one connection. One client's error does not affect the others.
// close(2) also ends the registration: epoll(7), "Questions and answers".
void server::close(conn &c, std::string why) {
    int fd = c.fd; // a copy: erase destroys c
    if (::close(fd) == -1)
        why += "; " + failed("close");
    logLine("fd " + std::to_string(fd) + ": " + addrPort(c.addr) +
            " closed: " + why);
    conns.erase(fd);
    if (full) {
        full = false;
        check("epoll_ctl(EPOLL_CTL_MOD)",
              setInterest(EPOLL_CTL_MOD, listener, EPOLLIN));
    }
}

std::string addrPort(const sockaddr_in &addr) {
    char host[INET_ADDRSTRLEN] = "";
    inet_ntop(AF_INET, &addr.sin_addr, host, sizeof host);
    return std::string(host) + ":" + std::to_string(ntohs(addr.sin_port));
}

// logLine writes a whole line with one call: stderr(3) is unbuffered.
void logLine(const std::string &line) {
    fputs((program + (": " + line + "\n")).c_str(), stderr);
}

// failed names the call and the reason: Go returns an error, C sets errno.
std::string failed(const char *call) {
    const char *why = strerror(errno); // first: any other call may change errno
    return std::string(call) + ": " + why;
}

// check ends the program if a call failed that it cannot do without.
void check(const char *call, int result) {
    if (result == -1) {
        logLine(failed(call));
        exit(1);
    }
}
