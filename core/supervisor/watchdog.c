/* watchdog.c: see watchdog.h. Pure functions over a page of memory and the time they are given. */
#include "supervisor/watchdog.h"
#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define LOOK_MAXIMUM (SECOND / 10) /* a longer pause between two looks was not the watched process's doing */
#define STALL_AFTER (5 * SECOND)
#define STALL_REPEATED (30 * SECOND)

enum cl_watchdog_verdict cl_watchdog_look(struct cl_watchdog *watchdog, const struct cl_watch *page, int64_t now,
                                          int64_t limit)
{
	int64_t passed = now - watchdog->looked;
	if (watchdog->looked == 0 || passed < 0)
		passed = 0;
	if (passed > LOOK_MAXIMUM)
		passed = LOOK_MAXIMUM;
	watchdog->looked = now;

	/* The call number is read before and after: only then does the time belong to that call. */
	uint32_t call = atomic_load(&page->lua_call);
	int64_t since = atomic_load(&page->lua_since);
	bool same = call == atomic_load(&page->lua_call);
	uint32_t kind = atomic_load(&page->kind);
	uint64_t ticks = atomic_load(&page->ticks);

	if (since != 0 && same && call == watchdog->call) {
		watchdog->in_call += passed;
		if (watchdog->in_call >= limit && now - since >= limit)
			return CL_WATCHDOG_STUCK;
	} else {
		watchdog->in_call = 0;
	}
	watchdog->call = call;

	if (kind != CL_WATCH_IDLE && since == 0 && ticks == watchdog->ticks)
		watchdog->waiting += passed;
	else
		watchdog->waiting = 0;
	watchdog->ticks = ticks;
	if (watchdog->waiting >= STALL_AFTER && (watchdog->warned == 0 || now - watchdog->warned >= STALL_REPEATED)) {
		watchdog->warned = now;
		return CL_WATCHDOG_STALLED;
	}
	return CL_WATCHDOG_FINE;
}

/* Copies at most `size` - 1 bytes up to a NUL; what would disturb a terminal or a log becomes "?". */
static void copy_text(char *out, const char *from, size_t size)
{
	size_t i = 0;
	for (; i + 1 < size && from[i]; i++)
		out[i] = from[i] >= ' ' && from[i] < 0x7f ? from[i] : '?';
	out[i] = '\0';
}

void cl_watchdog_scene(const struct cl_watch *page, struct cl_watchdog_scene *out)
{
	*out = (struct cl_watchdog_scene){0};
	uint32_t kind = atomic_load(&page->kind);
	out->kind = kind <= CL_WATCH_LOAD ? (enum cl_watch_kind)kind : CL_WATCH_IDLE;
	out->subject = page->subject;
	out->in_lua = atomic_load(&page->lua_since) != 0;
	copy_text(out->plugin, page->plugin, sizeof out->plugin);
	copy_text(out->what, page->what, sizeof out->what);
}

static bool same_subject(const struct cl_watchdog_scene *a, const struct cl_watchdog_scene *b)
{
	return memcmp(&a->subject, &b->subject, sizeof a->subject) == 0;
}

static enum cl_watchdog_judgement plugin_crashed(struct cl_watchdog_memory *memory, const char *plugin)
{
	int suspect = -1, room = 0;
	for (int i = 0; i < CL_WATCHDOG_PLUGINS; i++) {
		if (strcmp(memory->plugins[i], plugin) == 0)
			return CL_WATCHDOG_QUARANTINED;
		if (strcmp(memory->suspect_plugins[i], plugin) == 0)
			suspect = i;
	}
	if (suspect < 0) {
		memcpy(memory->suspect_plugins[memory->suspect_plugin_next], plugin, strlen(plugin) + 1);
		memory->suspect_plugin_next = (memory->suspect_plugin_next + 1) % CL_WATCHDOG_PLUGINS;
		return CL_WATCHDOG_SUSPECT;
	}
	memory->suspect_plugins[suspect][0] = '\0';
	while (room < CL_WATCHDOG_PLUGINS && memory->plugins[room][0])
		room++;
	if (room == CL_WATCHDOG_PLUGINS) {
		memmove(memory->plugins[0], memory->plugins[1], sizeof memory->plugins - sizeof memory->plugins[0]);
		room--;
	}
	memcpy(memory->plugins[room], plugin, strlen(plugin) + 1);
	return CL_WATCHDOG_QUARANTINED;
}

enum cl_watchdog_judgement cl_watchdog_crashed(struct cl_watchdog_memory *memory, const struct cl_watchdog_scene *scene)
{
	if (scene->kind == CL_WATCH_IDLE)
		return CL_WATCHDOG_NOTHING;
	if (scene->kind == CL_WATCH_LOAD)
		return scene->plugin[0] ? plugin_crashed(memory, scene->plugin) : CL_WATCHDOG_NOTHING;
	for (int i = 0; i < memory->quarantined_count; i++)
		if (same_subject(&memory->quarantined[i], scene))
			return CL_WATCHDOG_QUARANTINED;
	int suspect = -1;
	for (int i = 0; i < CL_WATCHDOG_REMEMBERED; i++)
		if (memory->suspects[i].kind != CL_WATCH_IDLE && same_subject(&memory->suspects[i], scene))
			suspect = i;
	if (suspect < 0) {
		memory->suspects[memory->suspect_next] = *scene;
		memory->suspect_next = (memory->suspect_next + 1) % CL_WATCHDOG_REMEMBERED;
		return CL_WATCHDOG_SUSPECT;
	}
	memory->suspects[suspect].kind = CL_WATCH_IDLE;
	if (memory->quarantined_count == CL_WATCH_QUARANTINE) {
		memmove(&memory->quarantined[0], &memory->quarantined[1],
		        sizeof memory->quarantined - sizeof memory->quarantined[0]);
		memory->quarantined_count--;
	}
	memory->quarantined[memory->quarantined_count++] = *scene;
	return CL_WATCHDOG_QUARANTINED;
}

int cl_watchdog_forgive(struct cl_watchdog_memory *memory)
{
	int count = memory->quarantined_count;
	for (int i = 0; i < CL_WATCHDOG_PLUGINS; i++)
		count += memory->plugins[i][0] != '\0';
	*memory = (struct cl_watchdog_memory){0};
	return count;
}

void cl_watchdog_prepare(const struct cl_watchdog_memory *memory, struct cl_watch *page)
{
	memset(page, 0, sizeof *page);
	for (int i = 0; i < memory->quarantined_count; i++)
		page->quarantine[i] = memory->quarantined[i].subject;
	memcpy(page->quarantined_plugin, memory->plugins, sizeof page->quarantined_plugin);
	atomic_store(&page->quarantine_count, (uint32_t)memory->quarantined_count);
}
