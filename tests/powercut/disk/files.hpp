// The files of the disk, each in two states: as programs see it, and as fsync has made it durable.
#pragma once
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace disk {

using Id = uint64_t;
using Names = std::map<std::string, Id>;

constexpr Id ROOT = 1;
constexpr Id NOTHING = 0;
constexpr size_t BLOCK = 4096;

struct Attributes {
    mode_t mode = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    dev_t device = 0;
    timespec modified{}, changed{};
};

struct File {
    Id id = NOTHING;
    Attributes seen, durable;
    unsigned long touched = 0;       // the operation that last changed attributes or bytes
    std::string bytes, durable_bytes;
    bool dirty = false;              // bytes differ from the durable ones
    bool synced = false;             // was itself fsynced at least once
    size_t shortest = SIZE_MAX;      // since the last fsync
    std::set<size_t> written;        // blocks, since the last fsync
    std::string target;              // of a symbolic link
    int links = 0;
    Names names, durable_names;      // of a folder
    Id parent = ROOT;                // of a folder

    bool is_folder() const { return S_ISDIR(seen.mode); }
};

// One name, bound to a file or to NOTHING.
struct Binding {
    Id folder;
    std::string name;
    Id file;
};

// What one operation did to names: all of it is kept, or none.
struct Change {
    unsigned long at;
    std::vector<Binding> bindings;
};

class Files {
   public:
    std::map<Id, std::unique_ptr<File>> all;
    std::list<Change> pending;        // of names, not durable yet, oldest first
    unsigned long operations = 0;
    unsigned long last_sync = 0;      // the operation that was the last fsync of anything

    Files() { add(NOTHING, S_IFDIR | 0755, 0, 0)->links = 2; }

    File *find(Id id) const {
        auto found = all.find(id);
        return found == all.end() ? nullptr : found->second.get();
    }

    File *child(Id folder, const std::string &name) const {
        File *above = find(folder);
        if (!above) return nullptr;
        auto found = above->names.find(name);
        return found == above->names.end() ? nullptr : find(found->second);
    }

    // A file without a name yet; `folder` gives it its group where it is setgid.
    File *add(Id folder, mode_t mode, uid_t uid, gid_t gid) {
        auto made = std::make_unique<File>();
        made->id = next_++;
        timespec now = clock();
        made->seen = {mode, uid, gid, 0, now, now};
        File *above = find(folder);
        if (above && (above->seen.mode & S_ISGID)) {
            made->seen.gid = above->seen.gid;
            if (S_ISDIR(mode)) made->seen.mode |= S_ISGID;
        }
        made->durable = made->seen;
        made->touched = operations;
        File *file = made.get();
        all[file->id] = std::move(made);
        return file;
    }

    void change(std::vector<Binding> bindings) {
        for (const Binding &binding : bindings) bind(binding);
        pending.push_back({operations, std::move(bindings)});
    }

    void touch(File *file) { file->touched = operations; }

    void resize(File *file, size_t size) {
        file->bytes.resize(size);
        file->dirty = true;
        file->shortest = std::min(file->shortest, size);
        file->seen.modified = file->seen.changed = clock();
    }

    void write(File *file, const char *data, size_t size, size_t at) {
        if (file->bytes.size() < at + size) file->bytes.resize(at + size);
        file->bytes.replace(at, size, data, size);
        file->dirty = true;
        file->seen.modified = file->seen.changed = clock();
        for (size_t block = at / BLOCK; size && block <= (at + size - 1) / BLOCK; block++)
            file->written.insert(block);
    }

    // fsync: bytes and attributes of a file; attributes and names of a folder.
    void sync(File *file) {
        last_sync = operations;
        file->durable = file->seen;
        file->synced = true;
        if (file->is_folder()) {
            sync_names(file->id);
        } else {
            sync_bytes(file);
        }
    }

    void make_durable(const Change &change) {
        for (const Binding &binding : change.bindings) {
            Names &names = find(binding.folder)->durable_names;
            if (binding.file == NOTHING)
                names.erase(binding.name);
            else
                names[binding.name] = binding.file;
        }
    }

    static timespec clock() {
        timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return now;
    }

   private:
    Id next_ = ROOT;

    void bind(const Binding &binding) {
        File *folder = find(binding.folder);
        auto old = folder->names.find(binding.name);
        if (old != folder->names.end()) {
            File *file = find(old->second);
            file->links--;
            file->seen.changed = clock();
            folder->names.erase(old);
        }
        if (binding.file != NOTHING) {
            File *file = find(binding.file);
            folder->names[binding.name] = binding.file;
            file->links++;
            file->seen.changed = clock();
            if (file->is_folder()) file->parent = folder->id;
        }
        folder->seen.modified = folder->seen.changed = clock();
    }

    // Only what was written: the image of a file system is one big file.
    static void sync_bytes(File *file) {
        std::string &durable = file->durable_bytes;
        if (file->shortest < durable.size()) durable.resize(file->shortest);
        durable.resize(file->bytes.size());
        for (size_t block : file->written) {
            size_t from = block * BLOCK;
            if (from >= durable.size()) continue;
            size_t count = std::min(BLOCK, durable.size() - from);
            durable.replace(from, count, file->bytes, from, count);
        }
        file->dirty = false;
        file->shortest = SIZE_MAX;
        file->written.clear();
    }

    // A rename is durable as a whole once either of its folders is.
    void sync_names(Id folder) {
        for (auto change = pending.begin(); change != pending.end();) {
            bool here = false;
            for (const Binding &binding : change->bindings) here |= binding.folder == folder;
            if (!here) {
                ++change;
                continue;
            }
            make_durable(*change);
            for (auto earlier = pending.begin(); earlier != change; ++earlier)
                for (const Binding &binding : change->bindings) supersede(*earlier, binding);
            change = pending.erase(change);
        }
    }

    static void supersede(Change &earlier, const Binding &later) {
        auto &all = earlier.bindings;
        for (auto one = all.begin(); one != all.end();)
            one = one->folder == later.folder && one->name == later.name ? all.erase(one) : one + 1;
    }
};

}  // namespace disk
