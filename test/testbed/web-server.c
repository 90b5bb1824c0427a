/*
 * The web server of the test image. Answers `/who` with the host name and the address the client was seen
 * under, and everything else with the file of that name below its directory. busybox httpd would be enough
 * but for its queue of nine connections and a process for each: on a busy machine it refuses what the
 * network has carried.
 *   web-server PORT [DIRECTORY]
 * As process 1 of a container it ends a second after SIGTERM, and serves until then.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 4096, EVENTS = 64, REQUEST_BYTES_MAX = 4096, ANSWER_BYTES_MAX = 64 * 1024, HEAD_BYTES_MAX = 160 };
enum { STOP_DELAY_SECONDS = 1 };

/* A connection until it has been answered. */
struct client {
	int socket;
	size_t received;
	char request[REQUEST_BYTES_MAX + 1];
};

static const char *directory = "/var/www";

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void on_term(int signal)
{
	(void)signal;
	alarm(STOP_DELAY_SECONDS);
}

static void on_alarm(int signal)
{
	(void)signal;
	_exit(0);
}

static int listen_on(unsigned short port)
{
	/* Clients on IPv4 come in as ::ffff:a.b.c.d; a kernel without IPv6 has only the other family. */
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int yes = 1, no = 0;
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (listener >= 0) {
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
		setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
		if (bind(listener, (struct sockaddr *)&any6, sizeof any6) < 0)
			fail("bind");
	} else {
		listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (listener < 0)
			fail("socket");
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
		if (bind(listener, (struct sockaddr *)&any4, sizeof any4) < 0)
			fail("bind");
	}
	if (listen(listener, BACKLOG) < 0)
		fail("listen");
	return listener;
}

/* "HOSTNAME CLIENT\n" */
static size_t who(int socket, char *answer, size_t size)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof peer;
	char host[256] = "", address[INET6_ADDRSTRLEN] = "";

	gethostname(host, sizeof host - 1);
	if (getpeername(socket, (struct sockaddr *)&peer, &length) == 0) {
		if (peer.ss_family == AF_INET) {
			inet_ntop(AF_INET, &((struct sockaddr_in *)&peer)->sin_addr, address, sizeof address);
		} else {
			const struct in6_addr *six = &((struct sockaddr_in6 *)&peer)->sin6_addr;

			if (IN6_IS_ADDR_V4MAPPED(six))
				inet_ntop(AF_INET, &six->s6_addr[12], address, sizeof address);
			else
				inet_ntop(AF_INET6, six, address, sizeof address);
		}
	}
	return (size_t)snprintf(answer, size, "%s %s\n", host, address);
}

/* Bytes of the file, or -1. */
static ssize_t read_file(const char *target, char *answer, size_t size)
{
	char path[REQUEST_BYTES_MAX + 256];
	struct stat status;
	ssize_t bytes = -1;
	int file;

	if (strstr(target, "..") != NULL)
		return -1;
	snprintf(path, sizeof path, "%s%s%s", directory, target,
		 target[strlen(target) - 1] == '/' ? "index.html" : "");
	file = open(path, O_RDONLY);
	if (file < 0)
		return -1;
	if (fstat(file, &status) == 0 && S_ISREG(status.st_mode))
		bytes = read(file, answer, size);
	close(file);
	return bytes;
}

/* Answers a request whose head has come whole. What does not fit into the socket's buffer at once is lost: answers are small. */
static void answer(struct client *client)
{
	static char body[ANSWER_BYTES_MAX], whole[HEAD_BYTES_MAX + ANSWER_BYTES_MAX];
	char method[8] = "", target[REQUEST_BYTES_MAX] = "";
	const char *status = "200 OK";
	ssize_t bytes = -1;
	int head;

	if (sscanf(client->request, "%7s %4095s", method, target) != 2 || target[0] != '/')
		status = "400 Bad Request";
	else if (strcmp(target, "/who") == 0)
		bytes = (ssize_t)who(client->socket, body, sizeof body);
	else if ((bytes = read_file(target, body, sizeof body)) < 0)
		status = "404 Not Found";
	if (bytes < 0)
		bytes = snprintf(body, sizeof body, "%s\n", status);
	head = snprintf(whole, HEAD_BYTES_MAX,
			"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zd\r\nConnection: close\r\n\r\n",
			status, bytes);
	if (strcmp(method, "HEAD") == 0)
		bytes = 0;
	memcpy(whole + head, body, (size_t)bytes);
	(void)!send(client->socket, whole, (size_t)head + (size_t)bytes, MSG_NOSIGNAL);
}

static void finish(struct client *client)
{
	close(client->socket);
	free(client);
}

static void receive(struct client *client)
{
	ssize_t bytes = recv(client->socket, client->request + client->received,
			     REQUEST_BYTES_MAX - client->received, 0);

	if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (bytes <= 0) {
		finish(client);
		return;
	}
	client->received += (size_t)bytes;
	client->request[client->received] = '\0';
	if (strstr(client->request, "\r\n\r\n") != NULL)
		answer(client);
	else if (client->received < REQUEST_BYTES_MAX)
		return;
	finish(client);
}

static void accept_all(int queue, int listener)
{
	for (;;) {
		int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		struct client *client;
		struct epoll_event event = { .events = EPOLLIN };

		if (socket < 0)
			return;
		client = malloc(sizeof *client);
		if (client == NULL)
			fail("malloc");
		client->socket = socket;
		client->received = 0;
		event.data.ptr = client;
		if (epoll_ctl(queue, EPOLL_CTL_ADD, socket, &event) < 0)
			fail("epoll_ctl");
	}
}

int main(int count, char **arguments)
{
	struct epoll_event event = { .events = EPOLLIN }, events[EVENTS];
	int listener, queue = epoll_create1(0);

	if (count < 2) {
		fprintf(stderr, "usage: web-server PORT [DIRECTORY]\n");
		return 2;
	}
	if (count > 2)
		directory = arguments[2];
	signal(SIGTERM, on_term);
	signal(SIGALRM, on_alarm);
	listener = listen_on((unsigned short)atoi(arguments[1]));
	if (queue < 0 || epoll_ctl(queue, EPOLL_CTL_ADD, listener, &event) < 0)
		fail("epoll");
	for (;;) {
		int ready = epoll_wait(queue, events, EVENTS, -1);

		for (int index = 0; index < ready; index += 1) {
			if (events[index].data.ptr == NULL)
				accept_all(queue, listener);
			else
				receive(events[index].data.ptr);
		}
	}
}
