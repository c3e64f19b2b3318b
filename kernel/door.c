// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * door.c - the doorbell descriptor; the module tide_door.
 */
#include <linux/anon_inodes.h>
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/percpu-refcount.h>
#include <linux/refcount.h>
#include <linux/slab.h>

#include "door.h"
#include "version.h"

/**
 * struct tide_door - one doorbell
 * @ringing: calls into @ops under way; killed when the door is revoked
 * @quiet: completed when the last of them has returned
 * @ref: one for the creator, one for each open file
 * @files: how many are open
 * @ops: what is behind the door
 * @cookie: passed to @ops
 */
struct tide_door {
	struct percpu_ref ringing;
	struct completion quiet;
	refcount_t ref;
	atomic_t files;
	const struct tide_door_ops *ops;
	u64 cookie;
};

static void door_put(struct tide_door *door)
{
	if (!refcount_dec_and_test(&door->ref))
		return;
	percpu_ref_exit(&door->ringing);
	kfree(door);
}

static void door_is_quiet(struct percpu_ref *ringing)
{
	struct tide_door *door =
		container_of(ringing, struct tide_door, ringing);

	complete(&door->quiet);
}

static long door_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct tide_door *door = file->private_data;
	long ret;

	if (!percpu_ref_tryget_live(&door->ringing))
		return -EIO;
	ret = door->ops->ring(door->cookie, cmd, arg);
	percpu_ref_put(&door->ringing);
	return ret;
}

static int door_release(struct inode *inode, struct file *file)
{
	struct tide_door *door = file->private_data;

	/* Before it counts as closed: whoever sees that waits for the rest. */
	bool live = percpu_ref_tryget_live(&door->ringing);

	if (atomic_dec_and_test(&door->files) && live)
		door->ops->closed(door->cookie);
	if (live)
		percpu_ref_put(&door->ringing);
	door_put(door);
	return 0;
}

static const struct file_operations door_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = door_ioctl,
	.compat_ioctl = door_ioctl,
	.release = door_release,
	.llseek = noop_llseek,
};

/**
 * tide_door_create - make a doorbell
 * @ops: called until tide_door_revoke() has returned
 * @cookie: passed to @ops
 *
 * Return: the door, to be given back to tide_door_revoke(), or an ERR_PTR.
 */
struct tide_door *tide_door_create(const struct tide_door_ops *ops, u64 cookie)
{
	struct tide_door *door;
	int ret;

	door = kzalloc(sizeof(*door), GFP_KERNEL);
	if (!door)
		return ERR_PTR(-ENOMEM);

	ret = percpu_ref_init(&door->ringing, door_is_quiet, 0, GFP_KERNEL);
	if (ret) {
		kfree(door);
		return ERR_PTR(ret);
	}
	init_completion(&door->quiet);
	refcount_set(&door->ref, 1);
	door->ops = ops;
	door->cookie = cookie;
	return door;
}
EXPORT_SYMBOL_GPL(tide_door_create);

/**
 * tide_door_open - a file by which a process reaches a doorbell
 * @door: the doorbell
 *
 * There may be several.
 *
 * Return: a file not yet installed in any descriptor, or an ERR_PTR.
 */
struct file *tide_door_open(struct tide_door *door)
{
	struct file *file;

	refcount_inc(&door->ref);
	atomic_inc(&door->files);
	file = anon_inode_getfile("[tide]", &door_fops, door, O_RDWR);
	if (IS_ERR(file)) {
		atomic_dec(&door->files);
		door_put(door);
	}
	return file;
}
EXPORT_SYMBOL_GPL(tide_door_open);

/**
 * tide_door_is_open - whether a process can reach a doorbell
 * @door: the doorbell
 *
 * Once it cannot, only tide_door_open() changes that.
 */
bool tide_door_is_open(const struct tide_door *door)
{
	return atomic_read(&door->files);
}
EXPORT_SYMBOL_GPL(tide_door_is_open);

/**
 * tide_door_revoke - take a doorbell away from whoever still holds it
 * @door: the doorbell, not to be used by the caller any more
 *
 * When this returns no call into @ops is under way, and none will be made.
 * Sleeps.
 */
void tide_door_revoke(struct tide_door *door)
{
	percpu_ref_kill(&door->ringing);
	wait_for_completion(&door->quiet);
	door_put(door);
}
EXPORT_SYMBOL_GPL(tide_door_revoke);

MODULE_DESCRIPTION("tide: doorbell descriptors");
MODULE_LICENSE("Dual BSD/GPL");
MODULE_VERSION(TIDE_VERSION);
