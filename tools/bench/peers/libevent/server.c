/* An echo server on libevent's bufferevents, as its book writes one: what has
 * been read is moved, not copied, to what is to be written.
 *
 * Tuned: EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST and no locks
 * (EVENT_BASE_FLAG_NOLOCK); a write watermark that stops reading from clients
 * that do not read. Large messages take many calls all the same: libevent 2.1
 * reads 4096 bytes at a time, and that cannot be changed.
 *
 * Usage: server PORT      build: gcc -O2 -o server server.c -levent_core
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { high = 256 << 10, low = 64 << 10 }; /* bytes owed to one client */

static void echo(struct bufferevent *bev, void *ctx)
{
	struct evbuffer *out = bufferevent_get_output(bev);
	evbuffer_add_buffer(out, bufferevent_get_input(bev));
	if (evbuffer_get_length(out) > high)
		bufferevent_disable(bev, EV_READ); /* until resume */
	(void)ctx;
}

static void resume(struct bufferevent *bev, void *ctx)
{
	if (!(bufferevent_get_enabled(bev) & EV_READ)) {
		bufferevent_enable(bev, EV_READ);
		echo(bev, ctx);
	}
}

static void gone(struct bufferevent *bev, short what, void *ctx)
{
	bufferevent_free(bev);
	(void)what, (void)ctx;
}

static void accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int len, void *ctx)
{
	int on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	struct bufferevent *bev = bufferevent_socket_new(ctx, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(bev, echo, resume, gone, NULL);
	bufferevent_setwatermark(bev, EV_WRITE, low, 0);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	(void)l, (void)from, (void)len;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 6379);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	struct event_config *config = event_config_new();
	event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST | EVENT_BASE_FLAG_NOLOCK);
	struct event_base *base = event_base_new_with_config(config);
	if (!evconnlistener_new_bind(base, accepted, base, LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC, 4096,
				     (struct sockaddr *)&at, sizeof at)) {
		perror("evconnlistener_new_bind");
		return 1;
	}
	return event_base_dispatch(base) < 0;
}
