/* The smallest epoll loop that answers correctly: step 3 in C.
 *
 * Level-triggered, one read an event; while bytes are pending, EPOLLOUT.
 * What the steps have besides (addresses, a log, one error told from another)
 * is left out: this is what the kernel's part costs, and little more.
 *
 * Usage: server PORT      build: gcc -O2 -o server server.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct conn {
	char *pending; /* read, not yet written */
	size_t len, done;
};

static struct conn *conns; /* by descriptor */
static char buf[64 << 10];
static int epfd;

static void check(long result, const char *call)
{
	if (result < 0) {
		perror(call);
		exit(1);
	}
}

static void set(int op, int fd, unsigned interest)
{
	struct epoll_event event = {.events = interest, .data.fd = fd};
	check(epoll_ctl(epfd, op, fd, &event), "epoll_ctl");
}

static void gone(int fd)
{
	free(conns[fd].pending);
	conns[fd] = (struct conn){0};
	close(fd);
}

static void echo(int fd)
{
	ssize_t n = read(fd, buf, sizeof buf), done = 0;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		done = write(fd, buf, n);
	if (done < 0 && errno == EAGAIN)
		done = 0;
	if (n <= 0 || done < 0) {
		gone(fd);
	} else if (done < n) {
		struct conn *c = &conns[fd];
		c->len = n - done;
		c->pending = malloc(c->len);
		memcpy(c->pending, buf + done, c->len);
		set(EPOLL_CTL_MOD, fd, EPOLLOUT);
	}
}

static void flush(int fd)
{
	struct conn *c = &conns[fd];
	ssize_t n = write(fd, c->pending + c->done, c->len - c->done);
	if (n < 0 && errno != EAGAIN) {
		gone(fd);
	} else if (n > 0 && (c->done += n) == c->len) {
		free(c->pending);
		*c = (struct conn){0};
		set(EPOLL_CTL_MOD, fd, EPOLLIN);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 6379);
	signal(SIGPIPE, SIG_IGN); /* a write to a client that has gone */
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max; /* as Go does */
	setrlimit(RLIMIT_NOFILE, &files);
	conns = calloc(files.rlim_max, sizeof *conns);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	check(listener, "socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	check(bind(listener, (struct sockaddr *)&at, sizeof at), "bind");
	check(listen(listener, 4096), "listen");
	check(epfd = epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	set(EPOLL_CTL_ADD, listener, EPOLLIN);
	for (;;) {
		struct epoll_event events[256];
		int n = epoll_wait(epfd, events, 256, -1);
		if (n < 0 && errno != EINTR)
			check(n, "epoll_wait");
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd, client;
			if (fd == listener) {
				while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
					set(EPOLL_CTL_ADD, client, EPOLLIN);
			} else if (conns[fd].pending) {
				flush(fd);
			} else {
				echo(fd);
			}
		}
	}
}
